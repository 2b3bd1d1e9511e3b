//! What came back of one request, in plain words.
//!
//! It is what the client gives to the rest of the stage, so that nothing else sees the SDK's types. It
//! judges nothing: `outcome` does.

/// The service answered for each record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PutAnswer {
    /// Whether the stream was encrypted at that time, where the service says anything.
    pub(super) encrypted: Option<bool>,
    /// One entry for each record, in the order of the request, if the service keeps its word.
    pub(super) entries: Vec<Entry>,
}

/// The answer for one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// The service has it, under this id.
    Put(String),
    /// The service does not have it. An entry with neither an id nor a code has no code here.
    Failed {
        /// The service's code.
        code: Option<String>,
        /// The service's words.
        message: Option<String>,
    },
}
