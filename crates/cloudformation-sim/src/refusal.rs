use crate::xml::Xml;

/// An error answer of the Query protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The error code clients match on.
    pub(crate) code: String,
    /// What is wrong, in CloudFormation's words where they are known.
    pub(crate) message: String,
}

impl Refusal {
    /// An error with any code.
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }

    /// `ValidationError`, CloudFormation's answer to most of what is wrong.
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationError", message)
    }

    /// The error document. `Type` says whose fault it is, as AWS's does.
    pub(crate) fn to_xml(&self, namespace: &str, request_id: &str) -> String {
        let mut xml = Xml::default();
        xml.element_with("ErrorResponse", &format!(" xmlns=\"{namespace}\""), |xml| {
            xml.element("Error", |xml| {
                xml.leaf("Type", if self.status < 500 { "Sender" } else { "Receiver" });
                xml.leaf("Code", &self.code);
                xml.leaf("Message", &self.message);
            });
            xml.leaf("RequestId", request_id);
        });
        xml.finish()
    }
}
