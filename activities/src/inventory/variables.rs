//! Substitutes `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME-default}` in a text, as k0sctl does before it parses.

use std::collections::BTreeMap;

/// Replaces all; a name that is not set and has no default becomes empty, as in a shell. An error names the line.
pub fn substitute(text: &str, variables: &BTreeMap<String, String>) -> Result<String, (u64, String)> {
    let mut out = String::with_capacity(text.len());
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        substitute_line(line, variables, &mut out).map_err(|what| (number, what))?;
    }
    Ok(out)
}

fn substitute_line(line: &str, variables: &BTreeMap<String, String>, out: &mut String) -> Result<(), String> {
    let mut rest = line;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = after.find('}').ok_or("`${` without `}`")?;
            out.push_str(&braced(&after[..end], variables)?);
            rest = &after[end + 1..];
        } else {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if name.is_empty() {
                out.push('$');
            }
            out.push_str(variables.get(&name).map_or("", String::as_str));
            rest = &rest[name.len()..];
        }
    }
    out.push_str(rest);
    Ok(())
}

fn braced(inside: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
    let (name, rule) = inside.split_at(end);
    let set = variables.get(name);
    if rule.is_empty() {
        return Ok(set.cloned().unwrap_or_default());
    }
    if let Some(default) = rule.strip_prefix(":-") {
        return Ok(set.filter(|v| !v.is_empty()).cloned().unwrap_or_else(|| default.to_owned()));
    }
    if let Some(default) = rule.strip_prefix('-') {
        return Ok(set.cloned().unwrap_or_else(|| default.to_owned()));
    }
    Err(format!("`${{{name}…}}`: only `:-` and `-` are supported"))
}

#[cfg(test)]
mod tests {
    use super::substitute;
    use std::collections::BTreeMap;

    /// Goal: each form is replaced as a shell would.
    #[test]
    fn forms() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("E".to_owned(), String::new())]);
        let cases =
            [("x$A-${A}y", "x1-1y"), ("${B:-d} ${E:-d} ${E-d} ${B-d}", "d d  d"), ("$B|$$A|$ 5|100$", "|$A|$ 5|100$")];
        for (text, wanted) in cases {
            assert_eq!(substitute(text, &variables).as_deref(), Ok(wanted), "{text}");
        }
        assert_eq!(substitute("ok\n${A", &variables).unwrap_err().0, 2);
    }
}
