//! The codes that a failure can have: the service's own, and ours for what never reached it.
//!
//! A fixed set, since they become the values of a metric's label. It judges nothing: `outcome` does.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A known code. See the module.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(super) enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// All of them.
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as the service writes it.
            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// A throttle ("Slow down."), or an outage.
    ServiceUnavailable = "ServiceUnavailableException",
    InternalFailure = "InternalFailure",
    InternalServerError = "InternalServerError",
    InternalException = "InternalServiceException",
    /// Kinesis writes it with more letters.
    InternalFailureException = "InternalFailureException",
    RequestTimeout = "RequestTimeoutException",
    Throttling = "ThrottlingException",
    ThrottlingShort = "Throttling",
    RequestLimit = "RequestLimitExceeded",
    LimitExceeded = "LimitExceededException",
    /// A shard takes no more at the moment.
    ThroughputExceeded = "ProvisionedThroughputExceededException",
    KmsThrottling = "KMSThrottlingException",
    Validation = "ValidationException",
    InvalidArgument = "InvalidArgumentException",
    Serialization = "SerializationException",
    InvalidKmsResource = "InvalidKMSResourceException",
    KmsDisabled = "KMSDisabledException",
    KmsInvalidState = "KMSInvalidStateException",
    KmsAccessDenied = "KMSAccessDeniedException",
    KmsNotFound = "KMSNotFoundException",
    KmsOptInRequired = "KMSOptInRequired",
    InvalidSource = "InvalidSourceException",
    ResourceNotFound = "ResourceNotFoundException",
    ResourceInUse = "ResourceInUseException",
    AccessDenied = "AccessDeniedException",
    ExpiredToken = "ExpiredTokenException",
    UnrecognizedClient = "UnrecognizedClientException",
    InvalidSignature = "InvalidSignatureException",
    IncompleteSignature = "IncompleteSignatureException",
    RequestExpired = "RequestExpired",
    UnknownOperation = "UnknownOperationException",
    /// HTTP 413 without a code, as a proxy says it.
    TooLarge = "HTTP413",
    /// HTTP 429 without a code.
    TooMany = "HTTP429",
    /// Any other HTTP status below 500 without a code.
    HttpClientError = "HTTP4xx",
    /// An HTTP status from 500 without a code.
    HttpServerError = "HTTP5xx",
    /// No connection came about.
    Connect = "Connect",
    /// The connection broke, or the answer could not be read.
    Broken = "Broken",
    /// No answer came in time.
    Timeout = "Timeout",
    /// The answer has another number of entries than the request had records.
    WrongLength = "WrongLength",
    /// An entry has neither an id nor a code.
    Missing = "NoCode",
    NoRegion = "NoRegion",
    NoCredentials = "NoCredentials",
    Unbuildable = "Unbuildable",
    /// A record that the service refuses can not be set aside.
    DeadLetterStore = "DeadLetterStore",
    /// A record is larger than what its records go into takes: it was not sent.
    RecordTooLarge = "RecordTooLarge",
    /// The stream has to be encrypted, and is not known to be.
    NotEncrypted = "NotEncrypted",
    /// It is not known where the records of the stream go, or they go nowhere.
    NoRoute = "NoRoute",
    /// A code that is not in this list.
    Other = "other",
}

impl Code {
    /// The known code that the service's text means.
    pub(super) fn of(text: &str) -> Self {
        Self::ALL.iter().copied().find(|code| code.as_str() == text).unwrap_or(Self::Other)
    }
}
