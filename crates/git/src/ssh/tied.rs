//! A stream that ends with whoever holds its other part.
//!
//! `russh` drives a connection in a task of its own, which nobody can end from outside while keys are exchanged, or while
//! the host takes nothing: a call that is given up meanwhile would leave the task and the socket behind for good.
//!
//! **Architecture Invariant:** no connection outlives the call or the [`super::session::Session`] that holds its [`Tie`].

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// What a stream lives as long as.
#[derive(Debug)]
pub(super) struct Tie {
    _held: oneshot::Sender<Infallible>,
}

/// A stream that can be neither read nor written any more once its [`Tie`] is gone.
#[derive(Debug)]
pub(super) struct Tied<S> {
    stream: S,
    /// `None` once it is gone.
    held: Option<oneshot::Receiver<Infallible>>,
}

impl<S> Tied<S> {
    pub(super) fn new(stream: S) -> (Self, Tie) {
        let (tie, held) = oneshot::channel();
        (Self { stream, held: Some(held) }, Tie { _held: tie })
    }

    /// Fails once the tie is gone. Whoever polls is woken when the tie is dropped: reading and writing are done by one task, so one waker is enough.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let is_held = self.held.as_mut().is_some_and(|held| Pin::new(held).poll(context).is_pending());
        if is_held {
            return Ok(());
        }
        self.held = None;
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, "nobody waits for it any more"))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tied<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tied<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
