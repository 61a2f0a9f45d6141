//! `serde_json::Value`.

use dqlite_proto::ValueRef;
use serde_json::Value;

use super::text;
use crate::convert::{Bound, FromValue, ToParam};
use crate::error::Result;

impl ToParam for Value {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(dqlite_proto::Value::Text(self.to_string()).into())
    }
}

impl FromValue for Value {
    const NAME: &'static str = "JSON";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        serde_json::from_str(text(value)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_travels_as_text() {
        let value = serde_json::json!({ "a": [1, null, "x"] });
        let sent = value.to_param().unwrap();
        assert_eq!(sent.as_ref(), ValueRef::Text(br#"{"a":[1,null,"x"]}"#));
        assert_eq!(Value::from_value(sent.as_ref()), Some(value));
        assert_eq!(Value::from_value(ValueRef::Text(b"{")), None);
    }
}
