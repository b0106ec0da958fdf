//! Status codes (gRPC, `statuscodes.md`) and what they make of a span.

/// Which end of a call a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Server,
    Client,
}

/// Canonical name of a status code, as `NOT_FOUND`.
pub fn status_name(code: u32) -> Option<&'static str> {
    NAMES.get(code as usize).copied()
}

/// Whether a span's status is to be Error (OpenTelemetry semantic conventions, "gRPC status").
pub fn is_error(code: u32, role: Role) -> bool {
    match role {
        Role::Client => code != 0,
        // Of the others the client is the cause. A code that is none is read as UNKNOWN.
        Role::Server => matches!(code, 2 | 4 | 12..=15 | 17..),
    }
}

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        let of_server: Vec<_> = (0..17)
            .filter(|&code| is_error(code, Role::Server))
            .filter_map(status_name)
            .collect();
        assert_eq!(
            of_server,
            [
                "UNKNOWN",
                "DEADLINE_EXCEEDED",
                "UNIMPLEMENTED",
                "INTERNAL",
                "UNAVAILABLE",
                "DATA_LOSS"
            ]
        );
        assert!((1..20).all(|code| is_error(code, Role::Client)));
        assert!(!is_error(0, Role::Client));
        assert!(is_error(17, Role::Server));
        assert_eq!(status_name(17), None);
    }
}
