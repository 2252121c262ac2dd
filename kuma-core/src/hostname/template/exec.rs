//! Rendering of a parsed template.

use super::{Command, Control, Data, ExecError, LabelSource, Node, Number, Operand, Pipe, Term};

/// A result of an expression.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// The data itself: `.` at the top.
    Data,
}

pub(super) fn render(text: &str, root: &[Node], data: &Data<'_>) -> Result<String, ExecError> {
    let mut exec = Exec { text, data, variables: vec![("$".into(), Value::Data)], out: String::new() };
    exec.nodes(root, &Value::Data)?;
    Ok(exec.out)
}

struct Exec<'a> {
    text: &'a str,
    data: &'a Data<'a>,
    variables: Vec<(String, Value)>,
    out: String,
}

type Evaluated = Result<Value, ExecError>;

impl Exec<'_> {
    fn error(&self, at: usize, expression: impl ToString, reason: impl Into<String>) -> ExecError {
        let before = &self.text[..at];
        let column = before.rfind('\n').map_or(at, |newline| at - newline - 1);
        ExecError {
            line: 1 + before.matches('\n').count(),
            column,
            expression: expression.to_string(),
            reason: reason.into(),
        }
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), ExecError> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.declares.is_empty() {
                        let text = self.printed(&value);
                        self.out.push_str(&text);
                    }
                }
                Node::Control { kind, pipe, then, otherwise } => {
                    let known = self.variables.len();
                    let value = self.pipe(pipe, dot)?;
                    match (kind, truth(&value)) {
                        (Control::Range, _) => {
                            let shown = self.printed(&value);
                            return Err(self.error(pipe.at, pipe, format!("range can't iterate over {shown}")));
                        }
                        (Control::If, true) => self.nodes(then, dot)?,
                        (Control::With, true) => self.nodes(then, &value)?,
                        (_, false) => self.nodes(otherwise, dot)?,
                    }
                    self.variables.truncate(known);
                }
            }
        }
        Ok(())
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Evaluated {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.declares {
            let known = self.variables.iter_mut().rev().find(|(n, _)| n == name);
            match known {
                Some((_, variable)) if pipe.assigns => *variable = value.clone(),
                _ => self.variables.push((name.clone(), value.clone())),
            }
        }
        Ok(value)
    }

    fn command(&mut self, command: &Command, dot: &Value, last: Option<Value>) -> Evaluated {
        let Some((first, arguments)) = command.words.split_first() else { return Ok(Value::Nil) };
        if let Term::Function(name) = &first.term {
            return self.call(name, first, command, dot, last);
        }
        if !arguments.is_empty() || last.is_some() {
            let what = match &first.term {
                Term::Field(names) => {
                    // The fields are evaluated first, so an unknown one is the better message.
                    self.operand(first, dot)?;
                    format!("{} has arguments but cannot be invoked as function", names.last().map_or("", |n| n))
                }
                _ => format!("can't give argument to non-function {first}"),
            };
            return Err(self.error(first.at, first, what));
        }
        match first.term {
            Term::Nil => Err(self.error(first.at, first, "nil is not a command")),
            _ => self.operand(first, dot),
        }
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Evaluated {
        match &operand.term {
            Term::Dot => Ok(dot.clone()),
            Term::Nil => Ok(Value::Nil),
            Term::Bool(value) => Ok(Value::Bool(*value)),
            Term::Number { value: Number::Int(n), .. } => Ok(Value::Int(*n)),
            Term::Number { value: Number::Float(n), .. } => Ok(Value::Float(*n)),
            Term::Text { value, .. } => Ok(Value::Text(value.clone())),
            Term::Function(name) => {
                let command = Command { at: operand.at, words: vec![operand.clone()] };
                self.call(name, operand, &command, dot, None)
            }
            Term::Field(names) => self.fields(dot.clone(), names, operand),
            Term::Variable(name, names) => {
                let value = self.variables.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.clone());
                match value {
                    Some(value) => self.fields(value, names, operand),
                    None => Err(self.error(operand.at, operand, format!("undefined variable: {name}"))),
                }
            }
            Term::Group(pipe, names) => {
                let value = self.pipe(pipe, dot)?;
                self.fields(value, names, operand)
            }
        }
    }

    fn fields(&self, mut value: Value, names: &[String], operand: &Operand) -> Evaluated {
        for name in names {
            value = match (&value, name.as_str()) {
                (Value::Data, "Name") => Value::Text(self.data.name.into()),
                (Value::Data, "DisplayName") => Value::Text(self.data.display_name.into()),
                (Value::Data, "Namespace") => Value::Text(self.data.namespace.into()),
                (Value::Data, "Mesh") => Value::Text(self.data.mesh.into()),
                (Value::Data, "Zone") => Value::Text(self.data.zone.into()),
                (Value::Nil, _) => {
                    return Err(self.error(operand.at, operand, format!("nil data; no entry for key {name:?}")));
                }
                (value, _) => {
                    let type_name = self.type_name(value);
                    let reason = format!("can't evaluate field {name} in type {type_name}");
                    return Err(self.error(operand.at, operand, reason));
                }
            };
        }
        Ok(value)
    }

    fn type_name(&self, value: &Value) -> &str {
        match value {
            Value::Nil => "nil",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::Data => self.data.type_name,
        }
    }

    fn call(
        &mut self,
        name: &str,
        function: &Operand,
        command: &Command,
        dot: &Value,
        last: Option<Value>,
    ) -> Evaluated {
        let given = &command.words[1..];
        let count = given.len() + usize::from(last.is_some());
        let wrong = |wanted: &str| format!("wrong number of args for {name}: want {wanted} got {count}");
        let wanted = match name {
            "label" | "not" | "len" if count != 1 => Some("1"),
            "ne" | "lt" | "le" | "gt" | "ge" if count != 2 => Some("2"),
            "and" | "or" | "eq" | "index" | "slice" | "printf" | "call" if count == 0 => Some("at least 1"),
            _ => None,
        };
        if let Some(wanted) = wanted {
            return Err(self.error(function.at, function, wrong(wanted)));
        }
        if name == "label" {
            let key = match given.first() {
                Some(operand) => {
                    let value = self.operand(operand, dot)?;
                    match value {
                        Value::Text(text) => text,
                        _ => return Err(self.error(operand.at, operand, format!("expected string; found {operand}"))),
                    }
                }
                None => match last {
                    Some(Value::Text(text)) => text,
                    other => {
                        let found = self.type_name(&other.unwrap_or(Value::Nil)).to_owned();
                        let reason = format!("wrong type for value; expected string; got {found}");
                        return Err(self.error(function.at, function, reason));
                    }
                },
            };
            return match self.data.labels {
                LabelSource::Always(value) => Ok(Value::Text(value.into())),
                LabelSource::Labels(labels) => labels.get(&key).map(|v| Value::Text(v.clone())).ok_or_else(|| {
                    self.error(command.at, command, format!("error calling label: label {key} not found"))
                }),
            };
        }
        let mut arguments = Vec::with_capacity(count);
        for operand in given {
            let value = self.operand(operand, dot)?;
            let stop = match name {
                "and" => !truth(&value),
                "or" => truth(&value),
                _ => false,
            };
            if stop {
                return Ok(value);
            }
            arguments.push(value);
        }
        arguments.extend(last);
        self.builtin(name, &arguments)
            .map_err(|reason| self.error(command.at, command, format!("error calling {name}: {reason}")))
    }

    fn builtin(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        let text = |value| Ok(Value::Text(value));
        match (name, arguments) {
            ("and" | "or", [.., last]) => Ok(last.clone()),
            ("not", [value]) => Ok(Value::Bool(!truth(value))),
            ("len", [Value::Text(value)]) => Ok(Value::Int(value.len() as i64)),
            ("len", [value]) => Err(format!("len of type {}", self.type_name(value))),
            ("print" | "html" | "js" | "urlquery", _) => text(self.sprint(arguments)),
            ("println", _) => {
                let words: Vec<String> = arguments.iter().map(|a| self.printed(a)).collect();
                text(words.join(" ") + "\n")
            }
            ("printf", [Value::Text(format), rest @ ..]) => text(self.sprintf(format, rest)),
            ("eq", [first, rest @ ..]) => {
                if rest.is_empty() {
                    return Err("missing argument for comparison".into());
                }
                for other in rest {
                    if compare(first, other)? == std::cmp::Ordering::Equal {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            ("ne", [a, b]) => Ok(Value::Bool(compare(a, b)?.is_ne())),
            ("lt", [a, b]) => Ok(Value::Bool(compare(a, b)?.is_lt())),
            ("le", [a, b]) => Ok(Value::Bool(compare(a, b)?.is_le())),
            ("gt", [a, b]) => Ok(Value::Bool(compare(a, b)?.is_gt())),
            ("ge", [a, b]) => Ok(Value::Bool(compare(a, b)?.is_ge())),
            ("slice", [Value::Text(value), bounds @ ..]) => slice(value, bounds).map(Value::Text),
            ("index", [Value::Text(value), Value::Int(at)]) => usize::try_from(*at)
                .ok()
                .and_then(|at| value.as_bytes().get(at))
                .map(|byte| Value::Int(i64::from(*byte)))
                .ok_or_else(|| format!("index out of range: {at}")),
            (_, [value, ..]) => Err(format!("can't be given a value of type {}", self.type_name(value))),
            (_, []) => Err("missing argument".into()),
        }
    }

    fn printed(&self, value: &Value) -> String {
        match value {
            Value::Nil => "<no value>".into(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Text(value) => value.clone(),
            Value::Data => {
                let Data { name, display_name, namespace, mesh, zone, .. } = self.data;
                format!("{{{name} {display_name} {namespace} {mesh} {zone}}}")
            }
        }
    }

    /// Values one after another, with a space between two that are both no texts.
    fn sprint(&self, values: &[Value]) -> String {
        let mut out = String::new();
        for (i, value) in values.iter().enumerate() {
            let is_text = |v: &Value| matches!(v, Value::Text(_));
            if i > 0 && !is_text(value) && !is_text(&values[i - 1]) {
                out.push(' ');
            }
            out.push_str(&self.printed(value));
        }
        out
    }

    /// The verbs that make sense for names: `%s`, `%v`, `%d`, `%q`, `%t`, `%x` and `%%`.
    fn sprintf(&self, format: &str, values: &[Value]) -> String {
        let mut out = String::new();
        let mut values = values.iter();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let Some(verb) = chars.next() else {
                out.push_str("%!(NOVERB)");
                break;
            };
            if verb == '%' {
                out.push('%');
                continue;
            }
            let Some(value) = values.next() else {
                out.push_str(&format!("%!{verb}(MISSING)"));
                continue;
            };
            match (verb, value) {
                ('v', value) => out.push_str(&self.printed(value)),
                ('s', Value::Text(text)) => out.push_str(text),
                ('q', Value::Text(text)) => out.push_str(&format!("{text:?}")),
                ('x', Value::Text(text)) => text.bytes().for_each(|b| out.push_str(&format!("{b:02x}"))),
                ('d', Value::Int(n)) => out.push_str(&n.to_string()),
                ('x', Value::Int(n)) => out.push_str(&format!("{n:x}")),
                ('t', Value::Bool(b)) => out.push_str(&b.to_string()),
                (verb, value) => {
                    out.push_str(&format!("%!{verb}({}={})", self.type_name(value), self.printed(value)));
                }
            }
        }
        let extra: Vec<String> = values.map(|v| format!("{}={}", self.type_name(v), self.printed(v))).collect();
        if !extra.is_empty() {
            out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
        }
        out
    }
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Nil => false,
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Float(value) => *value != 0.0,
        Value::Text(value) => !value.is_empty(),
        Value::Data => true,
    }
}

fn slice(text: &str, bounds: &[Value]) -> Result<String, String> {
    let bound = |value: &Value| match value {
        Value::Int(n) => usize::try_from(*n).ok().filter(|n| *n <= text.len()),
        _ => None,
    };
    let (from, to) = match bounds {
        [] => (Some(0), Some(text.len())),
        [from] => (bound(from), Some(text.len())),
        [from, to] => (bound(from), bound(to)),
        _ => return Err("cannot 3-index slice a string".into()),
    };
    let range = from.zip(to).and_then(|(from, to)| text.get(from..to));
    range.map(ToOwned::to_owned).ok_or_else(|| "index out of range".into())
}

fn compare(one: &Value, other: &Value) -> Result<std::cmp::Ordering, String> {
    match (one, other) {
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).ok_or_else(|| "invalid type for comparison".into()),
        (Value::Data, _) | (_, Value::Data) => Err("invalid type for comparison".into()),
        _ => Err("incompatible types for comparison".into()),
    }
}
