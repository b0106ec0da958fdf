//! Facts of gRPC: its fields, its codes and the framing of its messages (gRPC over HTTP/2, its
//! form for browsers, and Connect).

mod messages;
mod metadata;
mod status;

pub use messages::Messages;
pub use metadata::{timeout_ns, trace_parent};
pub use status::{Role, is_error, status_name};

/// Which protocol a content type names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `application/grpc`
    Grpc,
    /// `application/grpc-web`, `application/grpc-web-text`
    Web,
    /// `application/connect+...`: a stream of Connect. Its unary calls look like any request.
    Connect,
}

pub fn kind(content_type: &[u8]) -> Option<Kind> {
    let end = content_type
        .iter()
        .position(|byte| matches!(byte, b'+' | b';' | b' '))
        .unwrap_or(content_type.len());
    let (kind, rest) = content_type.split_at(end);
    let is = |name: &str| kind.eq_ignore_ascii_case(name.as_bytes());
    if is("application/grpc") {
        Some(Kind::Grpc)
    } else if is("application/grpc-web") || is("application/grpc-web-text") {
        Some(Kind::Web)
    } else if is("application/connect") && rest.starts_with(b"+") {
        Some(Kind::Connect)
    } else {
        None
    }
}

pub fn is_grpc(content_type: &[u8]) -> bool {
    kind(content_type) == Some(Kind::Grpc)
}

/// Service with its package, and method, of a path `/package.Service/Method`.
pub fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let path = path.strip_prefix(b"/")?;
    let path = path.split(|&byte| byte == b'?').next()?;
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    let (service, method) = (&path[..slash], &path[slash + 1..]);
    (!service.is_empty() && !method.is_empty()).then_some((service, method))
}

#[cfg(any(test, feature = "fuzz"))]
pub fn fuzz_grpc(input: &[u8]) {
    messages::fuzz_messages(input);
    metadata::fuzz_metadata(input);
    let _ = (kind(input), split_path(input));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        check("application/grpc", Some(Kind::Grpc));
        check("application/grpc+proto", Some(Kind::Grpc));
        check("application/grpc;charset=utf-8", Some(Kind::Grpc));
        check("Application/gRPC+json", Some(Kind::Grpc));
        check("application/grpc-web+proto", Some(Kind::Web));
        check("application/grpc-web-text", Some(Kind::Web));
        check("application/connect+proto", Some(Kind::Connect));
        check("application/connect", None);
        check("application/grpcx", None);
        check("application/grp", None);
        check("application/json", None);
        check("", None);
        fn check(content_type: &str, expected: Option<Kind>) {
            assert_eq!(kind(content_type.as_bytes()), expected, "{content_type}");
        }
    }

    #[test]
    fn paths() {
        check("/shop.v1.Cart/Add", Some(("shop.v1.Cart", "Add")));
        check("/Cart/Add", Some(("Cart", "Add")));
        check("/prefix/shop.Cart/Add", Some(("prefix/shop.Cart", "Add")));
        check("/shop.Cart/Get?message=x/y", Some(("shop.Cart", "Get")));
        check("/Cart", None);
        check("/Cart/", None);
        check("//Add", None);
        check("Cart/Add", None);
        check("", None);
        fn check(path: &str, expected: Option<(&str, &str)>) {
            let expected =
                expected.map(|(service, method)| (service.as_bytes(), method.as_bytes()));
            assert_eq!(split_path(path.as_bytes()), expected, "{path}");
        }
    }
}
