//! Parameters of a statement, by position or by name.

use dqlite_proto::sql::Parameters;

use crate::convert::ToParam;
use crate::error::{Error, Result};

/// All parameters of one call: `()`, tuples, arrays, slices and vectors by position;
/// [`named_params!`](crate::named_params) by name.
pub trait Params {
    /// Writes as many values as the statement takes. Anything else is an error of kind Usage, a
    /// value that cannot be sent one of kind Convert.
    fn write(self, wanted: &Parameters<'_>, out: &mut dqlite_proto::Params) -> Result<()>;
}

/// Parameters as bytes: they may go to other threads, also where the values may not.
#[cfg(feature = "tokio")]
pub(crate) struct Written(dqlite_proto::Params);

#[cfg(feature = "tokio")]
impl Written {
    /// Those of one statement.
    pub(crate) fn of(sql: &str, params: impl Params) -> Result<Self> {
        let statement = crate::statement::only_statement(sql)?;
        let mut values = dqlite_proto::Params::new();
        params.write(&statement.parameters, &mut values)?;
        Ok(Self(values))
    }
}

#[cfg(feature = "tokio")]
impl Params for Written {
    fn write(self, _: &Parameters<'_>, out: &mut dqlite_proto::Params) -> Result<()> {
        *out = self.0;
        Ok(())
    }
}

/// Parameters of different types by position.
///
/// ```
/// # use dqlite_client::{params, Params};
/// let id = 7;
/// let all: &[&dyn dqlite_client::ToParam] = params![id, "name", None::<f64>];
/// assert_eq!(all.len(), 3);
/// ```
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &dyn $crate::ToParam),*] as &[&dyn $crate::ToParam]
    };
}

/// Parameters by name. The sigil may be left out.
///
/// ```
/// # use dqlite_client::named_params;
/// let all = named_params! { ":id": 7, "name": "x" };
/// assert_eq!(all[1].0, "name");
/// ```
#[macro_export]
macro_rules! named_params {
    ($($name:literal : $value:expr),* $(,)?) => {
        &[$(($name, &$value as &dyn $crate::ToParam)),*] as &[(&str, &dyn $crate::ToParam)]
    };
}

fn by_position<'v>(
    values: impl ExactSizeIterator<Item = &'v dyn ToParam>,
    wanted: &Parameters<'_>,
    out: &mut dqlite_proto::Params,
) -> Result<()> {
    let given = values.len();
    if u32::try_from(given) != Ok(wanted.count) {
        let plural = if wanted.count == 1 { "" } else { "s" };
        return Err(Error::usage(format!(
            "the statement takes {} parameter{plural}, {given} given",
            wanted.count
        )));
    }
    for (at, value) in values.enumerate() {
        let pushed = value
            .to_param()
            .and_then(|value| Ok(out.push(value.as_ref())?));
        pushed
            .map_err(|error| Error::new(error.kind(), format!("parameter {}: {error}", at + 1)))?;
    }
    Ok(())
}

impl<T: ToParam> Params for &[T] {
    fn write(self, wanted: &Parameters<'_>, out: &mut dqlite_proto::Params) -> Result<()> {
        by_position(self.iter().map(|value| value as &dyn ToParam), wanted, out)
    }
}

impl<T: ToParam, const N: usize> Params for [T; N] {
    fn write(self, wanted: &Parameters<'_>, out: &mut dqlite_proto::Params) -> Result<()> {
        self.as_slice().write(wanted, out)
    }
}

impl<T: ToParam> Params for Vec<T> {
    fn write(self, wanted: &Parameters<'_>, out: &mut dqlite_proto::Params) -> Result<()> {
        self.as_slice().write(wanted, out)
    }
}

impl Params for () {
    fn write(self, wanted: &Parameters<'_>, out: &mut dqlite_proto::Params) -> Result<()> {
        by_position([].into_iter(), wanted, out)
    }
}

impl Params for &[(&str, &dyn ToParam)] {
    fn write(self, wanted: &Parameters<'_>, out: &mut dqlite_proto::Params) -> Result<()> {
        if wanted.has_positional || wanted.names.len() as u64 != u64::from(wanted.count) {
            return Err(Error::usage("the statement has parameters without a name"));
        }
        let is = |name: &[u8], key: &str| {
            let bare = name.get(1..).unwrap_or_default();
            name == key.as_bytes() || bare == key.as_bytes()
        };
        for (key, _) in self {
            if !wanted.names.iter().any(|(name, _)| is(name, key)) {
                return Err(Error::usage(format!(
                    "the statement has no parameter {key:?}"
                )));
            }
        }
        for (name, _) in &wanted.names {
            let shown = String::from_utf8_lossy(name);
            let Some((_, value)) = self.iter().find(|(key, _)| is(name, key)) else {
                return Err(Error::usage(format!(
                    "no value given for the parameter {shown}"
                )));
            };
            let pushed = value
                .to_param()
                .and_then(|value| Ok(out.push(value.as_ref())?));
            let named =
                |error: Error| Error::new(error.kind(), format!("parameter {shown}: {error}"));
            pushed.map_err(named)?;
        }
        Ok(())
    }
}

macro_rules! tuples {
    ($($name:ident)*) => {
        impl<$($name: ToParam),*> Params for ($($name,)*) {
            fn write(self, wanted: &Parameters<'_>, out: &mut dqlite_proto::Params) -> Result<()> {
                #[expect(non_snake_case, reason = "one name for the type and its value")]
                let ($($name,)*) = &self;
                by_position([$($name as &dyn ToParam),*].into_iter(), wanted, out)
            }
        }
    };
}

tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);
tuples!(A B C D E F G H I);
tuples!(A B C D E F G H I J);
tuples!(A B C D E F G H I J K);
tuples!(A B C D E F G H I J K L);
tuples!(A B C D E F G H I J K L M);
tuples!(A B C D E F G H I J K L M N);
tuples!(A B C D E F G H I J K L M N O);
tuples!(A B C D E F G H I J K L M N O P);

#[cfg(test)]
mod tests {
    use dqlite_proto::sql;

    use super::*;
    use crate::error::ErrorKind;

    fn bind(text: &str, params: impl Params) -> Result<Vec<dqlite_proto::Value>> {
        let statement = sql::statements(text).next().unwrap();
        let mut out = dqlite_proto::Params::new();
        params.write(&statement.parameters, &mut out)?;
        Ok(out.as_ref().values().map(Into::into).collect())
    }

    #[test]
    fn positions_are_counted_before_anything_is_sent() {
        assert_eq!(bind("SELECT ?, ?", (1, "a")).unwrap().len(), 2);
        assert_eq!(bind("SELECT ?", vec![1]).unwrap().len(), 1);
        assert_eq!(bind("SELECT ?1, ?1", [1]).unwrap().len(), 1);
        let error = bind("SELECT ?, ?", params![1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert_eq!(
            error.to_string(),
            "the statement takes 2 parameters, 1 given"
        );
        assert!(bind("SELECT '?'", ()).unwrap().is_empty());
    }

    #[test]
    fn values_that_cannot_be_sent_are_named() {
        let error = bind("SELECT ?, ?", (1, "a\0b")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Convert);
        assert!(
            error
                .to_string()
                .starts_with("parameter 2: text with a NUL"),
            "{error}"
        );
        let error = bind("SELECT ?", [u64::MAX]).unwrap_err();
        assert!(error.to_string().contains("does not fit"), "{error}");
    }

    #[test]
    fn names_are_found_with_and_without_their_sigil() {
        let bound = bind("SELECT :b, @a, :b", named_params! { "a": 1, ":b": 2 }).unwrap();
        assert_eq!(
            bound,
            [
                dqlite_proto::Value::Integer(2),
                dqlite_proto::Value::Integer(1)
            ]
        );
        let missing = bind("SELECT :a, :b", named_params! { "a": 1 }).unwrap_err();
        assert!(
            missing
                .to_string()
                .contains("no value given for the parameter :b")
        );
        let unknown = bind("SELECT :a", named_params! { "a": 1, "z": 2 }).unwrap_err();
        assert!(unknown.to_string().contains("no parameter \"z\""));
        assert!(bind("SELECT ?, :a", named_params! { "a": 1 }).is_err());
    }
}
