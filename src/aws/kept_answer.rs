//! The body of an answer, kept for who reads it otherwise than the SDK does.

use std::sync::{Arc, OnceLock};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Keeps the body of one answer that succeeded, whether the SDK could read it or not.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeptAnswer(Arc<OnceLock<Vec<u8>>>);

impl KeptAnswer {
    /// The body, if there was one.
    pub(crate) fn body(&self) -> Option<&[u8]> {
        self.0.get().map(Vec::as_slice)
    }
}

impl Intercept for KeptAnswer {
    fn name(&self) -> &'static str {
        "KeptAnswer"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        if let Some(body) = response.body().bytes().filter(|_| response.status().is_success()) {
            // One answer belongs to one call.
            let _is_first = self.0.set(body.to_vec()).is_ok();
        }
        Ok(())
    }
}
