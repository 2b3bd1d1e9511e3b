//! A look at the key before anything is sealed: can a data key be made, and be had back?
//!
//! For `check --live`. It leaves nothing behind: a key file that is not there is not made.

use super::Config;
use super::handle::StartError;
use super::providers::Providers;
use crate::record::StreamName;
use crate::spool::Provider;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Whether data keys could be had now.
    pub is_well: bool,
    /// What was done, or why it was not.
    pub said: String,
}

/// Has a data key made as `stream` would have it, and unwrapped again.
///
/// # Errors
/// When the configuration names something that can not be used.
pub async fn look(config: &Config, stream: &StreamName) -> Result<Look, StartError> {
    if let (Provider::File, Some(path)) = (config.provider, &config.file)
        && !path.exists()
    {
        let said = format!("{} is not there yet, and is made at the start", path.display());
        return Ok(Look { is_well: true, said });
    }
    // Of a file that is only to open old segments nothing is asked here.
    let file = config.file.clone().filter(|path| path.exists());
    let (providers, _) = Providers::open(&Config { file, ..config.clone() })?;
    let key_id = providers.key_id().unwrap_or_default().to_owned();
    let made = match providers.generate(stream).await {
        Ok(key) => providers.unwrap(key.wrapped().clone()).await,
        Err(trouble) => Err(trouble),
    };
    Ok(match made {
        Ok(_) => Look { is_well: true, said: format!("{key_id} makes data keys and opens them") },
        Err(trouble) => Look { is_well: false, said: format!("{key_id}: {}", trouble.message) },
    })
}
