//! A way to start a program on a host and to speak with it.

use crate::host::HostError;
use async_trait::async_trait;
use std::any::Any;
use tokio::io::{AsyncRead, AsyncWrite};

/// A program that was started.
pub struct Started {
    /// What it reads.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// What it prints.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// What it complains of.
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// What must live as long as the program is spoken with.
    pub keep: Box<dyn Any + Send>,
}

/// As whom a program is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// Root, by `sudo -n` where needed.
    Root,
    /// Whoever we are on the host.
    Us,
}

/// A way to start programs on a host.
#[async_trait]
pub trait Link: Send + Sync + 'static {
    /// Starts a program. [`HostError::Unreachable`], [`HostError::Denied`] and [`HostError::HostKey`] say that it was not started,
    /// [`HostError::Lost`] that it may have been.
    async fn start(&self, who: As, argv: &[&str]) -> Result<Started, HostError>;
}
