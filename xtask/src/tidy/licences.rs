//! Each dependency's licence is one of the list in `deny.toml`.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::cargo::{self, cargo};
use crate::process::Run as _;

pub(super) fn check() -> Result<()> {
    let list = fs::read_to_string(cargo::root().join("deny.toml"))?;
    let allowed = allowed(&list);
    // Without network, once the workspace has been built.
    let packages = cargo("tree")
        .args(["--workspace", "--locked", "--edges", "normal,build"])
        .args(["--prefix", "none", "--no-dedupe", "--format", "{p}\t{l}"])
        .read()?;
    let packages: BTreeSet<&str> = packages.lines().filter(|line| !line.is_empty()).collect();
    let mut faults = Vec::new();
    for package in &packages {
        let (name, licence) = package
            .split_once('\t')
            .with_context(|| format!("cargo tree said `{package}`"))?;
        if licence.is_empty() || !Expression::new(licence).holds(&allowed)? {
            faults.push(format!(
                "{name}: licence `{licence}` is not allowed by deny.toml"
            ));
        }
    }
    println!("    {} packages", packages.len());
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(())
}

/// The strings of `allow = [...]`.
fn allowed(list: &str) -> Vec<&str> {
    list.lines()
        .skip_while(|line| !line.starts_with("allow = ["))
        .take_while(|line| !line.starts_with(']'))
        .filter_map(|line| line.trim().strip_prefix('"')?.split('"').next())
        .collect()
}

/// An SPDX licence expression: `(MIT OR Apache-2.0) AND Unicode-3.0`, or with cargo's old `/`.
struct Expression {
    /// Last first.
    tokens: Vec<String>,
}

// === impl Expression ===

impl Expression {
    fn new(text: &str) -> Self {
        let spaced = text
            .replace('(', " ( ")
            .replace(')', " ) ")
            .replace('/', " OR ");
        let tokens = spaced.split_whitespace().rev().map(str::to_owned).collect();
        Self { tokens }
    }

    fn holds(mut self, allowed: &[&str]) -> Result<bool> {
        let holds = self.any(allowed)?;
        match self.tokens.pop() {
            None => Ok(holds),
            Some(token) => bail!("a licence expression goes on with `{token}`"),
        }
    }

    fn any(&mut self, allowed: &[&str]) -> Result<bool> {
        let mut holds = self.all(allowed)?;
        while self.take("OR") {
            holds |= self.all(allowed)?;
        }
        Ok(holds)
    }

    fn all(&mut self, allowed: &[&str]) -> Result<bool> {
        let mut holds = self.one(allowed)?;
        while self.take("AND") {
            holds &= self.one(allowed)?;
        }
        Ok(holds)
    }

    fn one(&mut self, allowed: &[&str]) -> Result<bool> {
        let mut licence = self
            .tokens
            .pop()
            .context("a licence expression ends early")?;
        if licence == "(" {
            let holds = self.any(allowed)?;
            if !self.take(")") {
                bail!("a licence expression lacks a parenthesis");
            }
            return Ok(holds);
        }
        if self.take("WITH") {
            let exception = self
                .tokens
                .pop()
                .context("a licence expression ends early")?;
            licence = format!("{licence} WITH {exception}");
        }
        Ok(allowed.contains(&licence.as_str()))
    }

    fn take(&mut self, token: &str) -> bool {
        self.tokens.pop_if(|next| next == token).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: bool) {
        let allowed = ["MIT", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"];
        assert_eq!(
            Expression::new(text).holds(&allowed).unwrap(),
            expected,
            "{text}"
        );
    }

    #[test]
    fn expressions_hold_or_not() {
        check("MIT", true);
        check("GPL-3.0-only", false);
        check("GPL-2.0-only/MIT", true);
        check("(MIT OR GPL-3.0-only) AND Unicode-3.0", true);
        check("MIT AND GPL-3.0-only", false);
        check("Apache-2.0 WITH LLVM-exception", true);
        check("Apache-2.0", false);
    }

    #[test]
    fn the_list_is_read() {
        let list =
            "[licenses]\nallow = [\n  \"MIT\",\n  # why\n  \"ISC\",\n]\nother = [\n  \"X\",\n]\n";
        assert_eq!(allowed(list), ["MIT", "ISC"]);
    }
}
