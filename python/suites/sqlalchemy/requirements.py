"""What SQLAlchemy's dialect suite may ask of dqlite.

Closed: each name with its reason. Open: what SQLAlchemy leaves closed for dialects it does not know
and SQLite can do.
"""

from __future__ import annotations

from sqlalchemy.testing import exclusions
from sqlalchemy.testing.requirements import SuiteRequirements

CLOSED = {
    "comment_reflection": "SQLite has no comments on tables",
    "computed_columns_default_persisted": "SQLite's generated columns are virtual unless told",
    "cross_schema_fk_reflection": "there are no other schemas: no file can be attached",
    "fetch_first": "SQLite has LIMIT, not FETCH FIRST",
    "identity_columns": "SQLite has none",
    "implicitly_named_constraints": "SQLite gives no names to constraints",
    "json_index_supplementary_unicode_element": "SQLite's JSON paths do not find such keys",
    "parens_in_union_contained_select_w_limit_offset": "not in SQLite's grammar",
    "parens_in_union_contained_select_wo_limit_offset": "not in SQLite's grammar",
    "reflect_tables_no_columns": "SQLite has no tables without columns",
    "regexp_match": "REGEXP is a user function, which a remote database cannot be given",
    "regexp_replace": "the same",
    "schemas": "there is one database per connection: no file can be attached",
    "server_side_cursors": "the suite recognises those of drivers that it knows by name only",
    "table_value_constructor": "SQLite cannot name the columns of VALUES",
    "two_phase_transactions": "dqlite has none",
}

OPEN = """
    autocommit boolean_col_expressions check_constraint_reflection computed_columns
    computed_columns_reflect_persisted computed_columns_stored computed_columns_virtual
    create_table_as create_temp_table_as ctes ctes_with_values date_historic datetime_historic
    datetime_literals dbapi_lastrowid emulated_lastrowid emulated_lastrowid_even_with_sequences
    except_ expression_server_defaults fetch_expression fetch_offset_with_options
    fk_constraint_option_reflection_ondelete_noaction
    fk_constraint_option_reflection_ondelete_restrict
    fk_constraint_option_reflection_onupdate_restrict float_or_double_precision_behaves_generically
    foreign_key_constraint_name_reflection foreign_key_constraint_option_reflection_ondelete
    foreign_key_constraint_option_reflection_onupdate has_temp_table index_ddl_if_exists
    indexes_check_column_order indexes_with_expressions infinity_floats
    inline_check_constraint_reflection intersect isolation_level json_array_indexes json_type
    legacy_unconditional_json_extract mod_operator_as_percent_sign non_updating_cascade
    nullsordering nvarchar_types order_by_collation order_by_label_with_expression
    percent_schema_names precision_numerics_enotation_small
    precision_numerics_retains_significant_digits reflect_table_options reflects_pk_names
    repeated_column_foreign_keys repeated_remote_col_foreign_keys server_defaults
    skip_autocommit_rollback supports_bitwise_and supports_bitwise_not
    supports_bitwise_or supports_bitwise_shift supports_bitwise_xor table_ddl_if_exists
    temp_table_names temporary_views tuple_in tuple_in_w_empty unicode_ddl update_from
    view_column_reflection view_reflection views window_functions window_range window_range_numeric
""".split()


class Requirements(SuiteRequirements):
    """SQLAlchemy's defaults, and the two lists above."""

    def get_order_by_collation(self, config: object) -> str:
        """Return a collation that SQLite has."""
        return "NOCASE"

    def get_isolation_levels(self, config: object) -> dict[str, object]:
        """Return the levels there are."""
        return {"default": "SERIALIZABLE", "supported": ["SERIALIZABLE", "AUTOCOMMIT"]}


def _switch(is_open: bool) -> property:
    return property(lambda _self: exclusions.open() if is_open else exclusions.closed())


for _name in OPEN:
    setattr(Requirements, _name, _switch(is_open=True))
for _name in CLOSED:
    setattr(Requirements, _name, _switch(is_open=False))
