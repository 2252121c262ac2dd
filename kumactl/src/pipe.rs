//! Output to somebody who may stop reading.

use std::io::{self, ErrorKind, Write};

/// Drops what is written after the reader has gone. `kumactl apply | head` applies everything, and nobody is told of an
/// error who has only read enough.
pub(crate) struct Output<'a> {
    to: &'a mut (dyn Write + Send),
    is_read: bool,
}

impl<'a> Output<'a> {
    /// Output to this writer, as long as it is read.
    pub(crate) fn to(to: &'a mut (dyn Write + Send)) -> Self {
        Self { to, is_read: true }
    }

    fn unless_gone<T>(&mut self, otherwise: T, write: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> io::Result<T> {
        if !self.is_read {
            return Ok(otherwise);
        }
        match write(&mut *self.to) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_read = false;
                Ok(otherwise)
            }
            outcome => outcome,
        }
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unless_gone(bytes.len(), |to| to.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_gone((), |to| to.flush())
    }
}
