//! Parameters of a query or a form, as the JSON object of the same members, so that one decoder reads both.

use serde_json::{Map, Value};

/// The most parameters that are read; providers send a dozen.
const MAX_PARAMETERS: usize = 256;

/// An object with every parameter but those that are `left_out`; `None` where one stands twice, or where there are too many.
pub(super) fn object(encoded: &[u8], left_out: &[&str]) -> Option<Map<String, Value>> {
    let mut object = Map::new();
    for (number, (key, value)) in url::form_urlencoded::parse(encoded).enumerate() {
        if number == MAX_PARAMETERS {
            return None;
        }
        if left_out.contains(&&*key) {
            continue;
        }
        if object.insert(key.into_owned(), Value::String(value.into_owned())).is_some() {
            return None;
        }
    }
    Some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_members_and_none_stands_twice() {
        let text = b"to=a%40b.example&status=Error&token=secret&empty=";
        let object_of = |text: &[u8]| object(text, &["token"]).map(|object| Value::Object(object).to_string());
        assert_eq!(object_of(text).as_deref(), Some(r#"{"empty":"","status":"Error","to":"a@b.example"}"#));
        assert_eq!(object_of(b"a=1&a=2"), None);
        assert_eq!(object_of(b"token=1&token=2").as_deref(), Some("{}"));
        let many = (0..1_000).map(|number| format!("p{number}=1")).collect::<Vec<_>>().join("&");
        assert_eq!(object_of(many.as_bytes()), None);
    }
}
