//! The requests made in the guest and what weft must have said about them.

use anyhow::Result;

use crate::otlp::{self, Span};
use crate::transcript::Outcome;

struct Request {
    path: String,
    host: &'static str,
    status: u16,
}

const SERVER: u8 = 2;
const CLIENT: u8 = 3;

fn requests() -> Vec<Request> {
    let mut requests: Vec<_> = (0..12)
        .map(|id| Request {
            path: format!("/item/{id}"),
            host: if id % 2 == 0 { "127.0.0.1" } else { "[::1]" },
            status: 200,
        })
        .collect();
    requests.push(Request {
        path: "/item/missing".to_owned(),
        host: "127.0.0.1",
        status: 404,
    });
    requests
}

/// One URL a line, for the init script.
pub(crate) fn request_list() -> String {
    requests()
        .iter()
        .map(|request| format!("{}\n", request.url()))
        .collect()
}

/// Paths below the document root.
pub(crate) fn served_files() -> Vec<String> {
    requests()
        .iter()
        .filter(|request| request.status == 200)
        .map(|request| request.path.trim_start_matches('/').to_owned())
        .collect()
}

/// Every problem found, in words.
pub(crate) fn check(made: &Outcome, spans: &Outcome) -> Result<Vec<String>> {
    let mut spans = otlp::parse(&spans.lines)?;
    let mut problems = Vec::new();
    for request in requests() {
        let code = if request.status == 200 { 0 } else { 1 };
        if !made.lines.contains(&format!("{code} {}", request.url())) {
            problems.push(format!(
                "{}: wget should have ended with {code}",
                request.url()
            ));
        }
        let (own, others) = spans.into_iter().partition(|span| request.is_in(span));
        spans = others;
        problems.extend(
            request
                .check(&own)
                .into_iter()
                .map(|text| format!("{}: {text}", request.path)),
        );
    }
    problems.extend(
        spans
            .iter()
            .map(|span| format!("a span of no request made: {span:?}")),
    );
    Ok(problems)
}

// === impl Request ===

impl Request {
    fn url(&self) -> String {
        format!("http://{}:8080{}", self.host, self.path)
    }

    fn is_in(&self, span: &Span) -> bool {
        let path = span.attribute("url.path").or_else(|| {
            let url = span.attribute("url.full")?;
            let rest = url.split_once("://")?.1.to_owned();
            rest.find('/').map(|at| rest[at..].to_owned())
        });
        path.as_deref() == Some(&self.path)
    }

    fn check(&self, spans: &[Span]) -> Vec<String> {
        let of_kind = |kind| {
            spans
                .iter()
                .filter(move |span| span.kind == kind)
                .collect::<Vec<_>>()
        };
        let (servers, clients) = (of_kind(SERVER), of_kind(CLIENT));
        let ([server], [client]) = (servers.as_slice(), clients.as_slice()) else {
            return vec![format!(
                "{} server and {} client spans, not 1 and 1",
                servers.len(),
                clients.len()
            )];
        };

        let mut problems = Vec::new();
        if server.trace_id != client.trace_id || server.parent_span_id != client.span_id {
            problems.push("the server span is no child of the client span".to_owned());
        }
        let mut expect = |span: &Span, kind: &str, key: &str, value: &str| {
            let found = span.attribute(key);
            if found.as_deref() != Some(value) {
                problems.push(format!("{kind} span: {key} is {found:?}, not {value}"));
            }
        };
        let status = self.status.to_string();
        expect(server, "server", "weft.link", "wire-position");
        expect(server, "server", "http.response.status_code", &status);
        expect(client, "client", "http.response.status_code", &status);
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str, kind: u8, id: &str, parent: &str, status: u16) -> String {
        format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{path}","spanId":"{id}",
            "parentSpanId":"{parent}","kind":{kind},"attributes":[
            {{"key":"url.full","value":{{"stringValue":"http://h:8080{path}"}}}},
            {{"key":"weft.link","value":{{"stringValue":"wire-position"}}}},
            {{"key":"http.response.status_code","value":{{"intValue":"{status}"}}}}]}}]}}]}}]}}"#
        )
    }

    fn whole() -> (Outcome, Vec<String>) {
        let mut made = Outcome::default();
        let mut lines = Vec::new();
        for request in requests() {
            let (path, status) = (&request.path, request.status);
            made.lines
                .push(format!("{} {}", u8::from(status != 200), request.url()));
            lines.push(line(path, CLIENT, "c", "", status));
            lines.push(line(path, SERVER, "s", "c", status));
        }
        (made, lines)
    }

    fn problems(change: impl FnOnce(&mut Vec<String>)) -> Vec<String> {
        let (made, mut lines) = whole();
        change(&mut lines);
        check(
            &made,
            &Outcome {
                lines,
                code: Some(0),
            },
        )
        .unwrap()
    }

    #[test]
    fn whole_trace_passes() {
        assert_eq!(problems(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_told() {
        let told = |change: fn(&mut Vec<String>)| problems(change).join("\n");
        assert!(told(|lines| drop(lines.pop())).contains("0 server and 1 client"));
        assert!(told(|lines| lines.push(lines[0].clone())).contains("1 server and 2 client"));
        assert!(
            told(|lines| lines[1] = line("/item/0", SERVER, "s", "x", 200)).contains("no child")
        );
        assert!(
            told(|lines| lines[1] = line("/item/0", SERVER, "s", "c", 500)).contains("not 200")
        );
        assert!(
            told(|lines| lines.push(line("/else", SERVER, "s", "", 200)))
                .contains("no request made")
        );
    }
}
