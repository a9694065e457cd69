//! Canaries: secrets that a test plants, and then looks for in everything that is shown or logged.

use std::fmt::{Debug, Display};

/// A secret that must not appear, in all forms in which it could.
pub(crate) struct Canary {
    name: &'static str,
    forms: Vec<String>,
}

impl Canary {
    pub(crate) fn new(name: &'static str, bytes: &[u8]) -> Self {
        let joined = |separator, form: &dyn Fn(&u8) -> String| {
            bytes.iter().map(form).collect::<Vec<_>>().join(separator)
        };
        let forms = vec![
            String::from_utf8_lossy(bytes).into_owned(),
            bytes.escape_ascii().to_string(),
            joined("", &|byte| format!("{byte:02x}")),
            joined("", &|byte| format!("{byte:02X}")),
            joined(", ", &|byte| byte.to_string()),
            joined(",", &|byte| byte.to_string()),
            joined(", ", &|byte| format!("{byte:#04x}")),
            joined(", ", &|byte| format!("{byte:#x}")),
            joined(",\n    ", &|byte| byte.to_string()),
        ];
        Self { name, forms }
    }

    #[track_caller]
    pub(crate) fn assert_absent(&self, place: &str, text: &str) {
        for form in &self.forms {
            if let Some(at) = text.find(form.as_str()) {
                let line = text[..at].rfind('\n').map_or(0, |start| start + 1);
                panic!("{place} shows the {}: {}", self.name, &text[line..at + form.len()]);
            }
        }
    }
}

/// The value in both forms of `Debug`.
pub(crate) fn shown(value: &dyn Debug) -> String {
    format!("{value:?}\n{value:#?}")
}

/// The value in the forms of `Display` and `Debug`.
pub(crate) fn displayed(value: &(impl Display + Debug)) -> String {
    format!("{value}\n{}", shown(value))
}
