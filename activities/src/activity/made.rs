//! What an attempt made and its probe must name, for example the reference of a sealed blob.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A field that serde skips: kept in memory only, beside the input of one use: after a crash nothing was made, and it is made again.
/// What was made then and is sealed under a name that nobody knows hurts nobody.
pub struct Made<T>(Arc<Mutex<Option<T>>>);

impl<T> Made<T> {
    /// Remembers it.
    pub fn set(&self, made: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
    }
}

impl<T: Clone> Made<T> {
    /// What was made in this life of the process.
    pub fn get(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<T> Default for Made<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Made<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Made<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Made")
    }
}

/// It is no part of the input.
impl<T> PartialEq for Made<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Made<T> {}
