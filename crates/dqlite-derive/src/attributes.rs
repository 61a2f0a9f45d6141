//! What stands in `#[dqlite(..)]`.

use syn::{Attribute, LitStr, Path, Result, Type};

/// Of a struct.
pub(crate) struct Container {
    pub(crate) krate: Path,
    pub(crate) case: Case,
}

/// Of a field.
#[derive(Default)]
pub(crate) struct Field {
    pub(crate) rename: Option<String>,
    pub(crate) default: bool,
    pub(crate) skip: bool,
    pub(crate) flatten: bool,
    pub(crate) try_from: Option<Type>,
}

/// How the name of a column follows from that of a field.
#[derive(Clone, Copy)]
pub(crate) enum Case {
    Same,
    Lower,
    Upper,
    Camel,
    Pascal,
    ScreamingSnake,
    Kebab,
}

impl Container {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut container = Self {
            krate: syn::parse_quote!(::dqlite),
            case: Case::Same,
        };
        for attribute in attributes.iter().filter(|a| a.path().is_ident("dqlite")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("crate") {
                    container.krate = meta.value()?.parse::<LitStr>()?.parse()?;
                } else if meta.path.is_ident("rename_all") {
                    let name: LitStr = meta.value()?.parse()?;
                    container.case = Case::named(&name.value())
                        .ok_or_else(|| syn::Error::new(name.span(), "unknown case"))?;
                } else {
                    return Err(meta.error("unknown attribute; known are crate and rename_all"));
                }
                Ok(())
            })?;
        }
        Ok(container)
    }
}

impl Field {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut field = Self::default();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("dqlite")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("rename") {
                    field.rename = Some(meta.value()?.parse::<LitStr>()?.value());
                } else if meta.path.is_ident("try_from") {
                    field.try_from = Some(meta.value()?.parse::<LitStr>()?.parse()?);
                } else if meta.path.is_ident("default") {
                    field.default = true;
                } else if meta.path.is_ident("skip") {
                    field.skip = true;
                } else if meta.path.is_ident("flatten") {
                    field.flatten = true;
                } else {
                    let known = "rename, default, skip, flatten, try_from";
                    return Err(meta.error(format!("unknown attribute; known are {known}")));
                }
                Ok(())
            })?;
        }
        Ok(field)
    }
}

impl Case {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "snake_case" => Self::Same,
            "lowercase" => Self::Lower,
            "UPPERCASE" => Self::Upper,
            "camelCase" => Self::Camel,
            "PascalCase" => Self::Pascal,
            "SCREAMING_SNAKE_CASE" => Self::ScreamingSnake,
            "kebab-case" => Self::Kebab,
            _ => return None,
        })
    }

    pub(crate) fn apply(self, field: &str) -> String {
        let pascal = || -> String { field.split('_').map(capitalized).collect() };
        match self {
            Self::Same => field.to_owned(),
            Self::Lower => field.replace('_', ""),
            Self::Upper => field.replace('_', "").to_uppercase(),
            Self::Pascal => pascal(),
            Self::Camel => {
                let name = pascal();
                let mut letters = name.chars();
                let first = letters.next().map(|letter| letter.to_ascii_lowercase());
                first.into_iter().chain(letters).collect()
            }
            Self::ScreamingSnake => field.to_uppercase(),
            Self::Kebab => field.replace('_', "-"),
        }
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_columns_follow_from_fields() {
        for (case, name) in [
            ("snake_case", "full_name"),
            ("lowercase", "fullname"),
            ("UPPERCASE", "FULLNAME"),
            ("camelCase", "fullName"),
            ("PascalCase", "FullName"),
            ("SCREAMING_SNAKE_CASE", "FULL_NAME"),
            ("kebab-case", "full-name"),
        ] {
            assert_eq!(Case::named(case).unwrap().apply("full_name"), name);
        }
        assert!(Case::named("Title Case").is_none());
    }
}
