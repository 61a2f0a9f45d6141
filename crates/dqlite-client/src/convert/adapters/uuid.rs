//! `uuid::Uuid`.

use dqlite_proto::ValueRef;
use uuid::Uuid;

use super::text;
use crate::convert::{Bound, FromValue, ToParam};
use crate::error::Result;

impl ToParam for Uuid {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(ValueRef::Blob(self.as_bytes()).into())
    }
}

impl FromValue for Uuid {
    const NAME: &'static str = "Uuid";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Blob(bytes) => Self::from_slice(bytes).ok(),
            value => Self::try_parse(text(value)?).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_sent_and_text_is_understood() {
        let id = Uuid::from_u128(0x1234);
        let sent = id.to_param().unwrap();
        assert_eq!(Uuid::from_value(sent.as_ref()), Some(id));
        let text = id.to_string();
        assert_eq!(Uuid::from_value(ValueRef::Text(text.as_bytes())), Some(id));
        assert_eq!(Uuid::from_value(ValueRef::Blob(b"short")), None);
    }
}
