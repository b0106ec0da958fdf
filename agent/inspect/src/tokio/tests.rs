//! For looking at programs by hand.
use crate::inspect;
#[test]
#[ignore]
fn look() {
    for path in std::env::var("LOOK").unwrap().split(':') {
        let bytes = std::fs::read(path).unwrap();
        let start = std::time::Instant::now();
        let found = inspect(&bytes).unwrap();
        println!("{path} {:?}\n{:#?}", start.elapsed(), found.tokio.map(|t| t.map(|t| (t.version.clone(), t.current as i64, t.wakers, t.id_offset, t.drawn.len(), t.drawn.iter().map(|d| (format!("{:x}", d.site.offset), d.id)).collect::<Vec<_>>(), t.sends.len(), t.sends.iter().map(|s| format!("{:x}+{} {:?}", s.site.offset, s.offset, s.waker)).collect::<Vec<_>>(), t.problems.clone()))));
    }
}
