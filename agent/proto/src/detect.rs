//! Which protocol a connection speaks, from its first bytes.
