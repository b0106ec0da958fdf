/// The next part of one direction of a connection, in stream order and without overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes as they crossed the socket.
    Bytes(&'a [u8]),
    /// This many bytes crossed the socket and are not known.
    Gap(u64),
}
