"""Tests of Django's own suite that do not hold for this backend, by reason."""

from __future__ import annotations

from typing import Final

_FUNCTIONS: Final = "Hashes are functions in Python, which a remote database cannot be given."
_REGEXP: Final = "REGEXP is a function in Python, which a remote database cannot be given."
_DEVIATION: Final = (
    "Standard deviation and variance are aggregates in Python, which a remote database cannot be "
    "given."
)
_HASHES: Final = ("md5.MD5", "sha1.SHA1", "sha224.SHA224", "sha256.SHA256", "sha384.SHA384")
_FILTERED: Final = "aggregation.test_filter_argument.FilteredAggregateTests"
_EXTRACT: Final = "db_functions.datetime.test_extract_trunc"
_YEARS: Final = ("exact", "greaterthan", "lessthan")

SKIPS: Final[dict[str, set[str]]] = {
    _FUNCTIONS: {
        f"db_functions.text.test_{name}Tests.test_{test}"
        for name in (*_HASHES, "sha512.SHA512")
        for test in ("basic", "transform")
    },
    _REGEXP: {
        "backends.sqlite.tests.Tests.test_regexp_function",
        "lookup.tests.LookupTests.test_regex",
        "lookup.tests.LookupTests.test_regex_non_ascii",
        "lookup.tests.LookupTests.test_regex_non_string",
        "lookup.tests.LookupTests.test_regex_null",
        "model_fields.test_jsonfield.TestQuerying.test_key_iregex",
        "model_fields.test_jsonfield.TestQuerying.test_key_regex",
    },
    _DEVIATION: {
        f"{_FILTERED}.test_filtered_numerical_aggregates",
        "aggregation.tests.AggregateTestCase.test_aggregation_default_expression",
        "aggregation.tests.AggregateTestCase.test_aggregation_default_integer",
        "aggregation.tests.AggregateTestCase.test_aggregation_default_unset",
        "aggregation.tests.AggregateTestCase.test_aggregation_default_zero",
        "aggregation_regress.tests.AggregationTests.test_stddev",
    },
    "The test looks for the word extract in SQL; here it is strftime.": {
        f"{_EXTRACT}.{case}.test_extract_year_{lookup}_lookup"
        for case in ("DateFunctionTests", "DateFunctionWithTimeZoneTests")
        for lookup in _YEARS
    },
    "Raw cursors give dates as they are stored: declared types do not cross the wire.": {
        "schema.tests.SchemaTests.test_add_datefield_and_datetimefield_use_effective_default",
        "timezones.tests.LegacyDatabaseTests.test_cursor_execute_returns_naive_datetime",
        "timezones.tests.NewDatabaseTests.test_cursor_execute_returns_naive_datetime",
    },
    "Transactions are immediate unless OPTIONS say otherwise.": {
        "backends.base.test_base.DatabaseWrapperLoggingTests.test_commit_debug_log",
        "backends.sqlite.tests.TestTransactionMode.test_default_transaction_mode",
    },
    "The test is about the names of files.": {
        "backends.sqlite.test_creation.TestDbSignatureTests.test_custom_test_name",
        "backends.sqlite.test_creation.TestDbSignatureTests.test_get_test_db_clone_settings_name",
    },
    "The test interleaves two writing transactions in one thread; there is one writer at a time.": {
        "delete_regress.tests.DeleteLockingTest.test_concurrent_delete",
    },
    "A password is refused, because it would protect nothing.": {
        "backends.tests.BackendTestCase.test_unicode_password",
    },
    "The test closes the connection of the driver behind the back of Django.": {
        "backends.sqlite.tests.ThreadSharing.test_database_sharing_in_threads",
    },
    "Every supported server has JSON.": {
        "backends.sqlite.test_features.FeaturesTests.test_supports_json_field_operational_error",
    },
    "The text names this backend and its own oldest version.": {
        "backends.sqlite.tests.Tests.test_check_database_version_supported",
    },
}
