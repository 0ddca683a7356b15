//! The standard variables of OpenTelemetry that say whether and how something is sent; the exporter itself reads the others.

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Lines of the audit.
    Logs,
    /// Counts, durations and states.
    Metrics,
}

impl Signal {
    /// As it stands in the names of variables.
    fn infix(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Logs => "LOGS",
            Self::Metrics => "METRICS",
        }
    }
}

/// Whether its collector is reached by TLS.
pub fn is_secure(signal: Signal) -> bool {
    let own = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.infix());
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    set(&own).or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT")).is_some_and(|to| to.starts_with("https:"))
}

/// How it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP as protobuf over HTTP.
    Http,
}

/// Whether it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// No: nobody named a collector, or somebody said no.
    Off,
    /// Yes.
    Otlp(Transport),
}

/// What the variables say of a signal; an error names the variable and what it may be.
pub fn setting(signal: Signal, variable: &dyn Fn(&str) -> Option<String>) -> Result<Setting, String> {
    // By the specification an empty variable is one that is not set.
    let get = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    if get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(Setting::Off);
    }
    let infix = signal.infix();
    let of_signal = |what: &str| {
        let (own, all) = (format!("OTEL_EXPORTER_OTLP_{infix}_{what}"), format!("OTEL_EXPORTER_OTLP_{what}"));
        get(&own).map(|value| (own, value)).or_else(|| get(&all).map(|value| (all, value)))
    };
    let exporters = format!("OTEL_{infix}_EXPORTER");
    if let Some(wanted) = get(&exporters) {
        let wanted: Vec<&str> = wanted.split(',').map(str::trim).collect();
        if wanted == ["none"] {
            return Ok(Setting::Off);
        }
        if !wanted.contains(&"otlp") {
            return Err(format!("{exporters} is {}; known here are otlp and none", wanted.join(",")));
        }
    }
    if of_signal("ENDPOINT").is_none() {
        return Ok(Setting::Off);
    }
    match of_signal("PROTOCOL") {
        None => Ok(Setting::Otlp(Transport::Http)),
        Some((_, protocol)) if protocol == "http/protobuf" => Ok(Setting::Otlp(Transport::Http)),
        Some((_, protocol)) if protocol == "grpc" => Ok(Setting::Otlp(Transport::Grpc)),
        Some((name, protocol)) => Err(format!("{name} is {protocol}; known here are grpc and http/protobuf")),
    }
}

#[cfg(test)]
mod tests {
    //! Shows what each variable does.

    use super::{Setting, Signal, Transport, setting};

    fn set(pairs: &[(&str, &str)]) -> Result<Setting, String> {
        let of = |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        setting(Signal::Traces, &of)
    }

    /// Goal: nothing is sent unless somebody names a collector, and nobody says no.
    #[test]
    fn nothing_is_sent_unless_a_collector_is_named() {
        let to = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(set(&[]), Ok(Setting::Off));
        assert_eq!(set(&[("OTEL_TRACES_EXPORTER", "otlp")]), Ok(Setting::Off));
        assert_eq!(set(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Ok(Setting::Off));
        assert_eq!(set(&[to]), Ok(Setting::Otlp(Transport::Http)));
        assert_eq!(set(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c")]), Ok(Setting::Otlp(Transport::Http)));
        assert_eq!(set(&[to, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(Setting::Off));
        assert_eq!(set(&[to, ("OTEL_TRACES_EXPORTER", "none")]), Ok(Setting::Off));
        assert_eq!(set(&[to, ("OTEL_TRACES_EXPORTER", "otlp,console")]), Ok(Setting::Otlp(Transport::Http)));
    }

    /// Goal: the variable of the signal goes before that of all; what is not known is named.
    #[test]
    fn protocols_are_known_or_named() {
        let to = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        let all = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        assert_eq!(set(&[to, all]), Ok(Setting::Otlp(Transport::Grpc)));
        let own = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf");
        assert_eq!(set(&[to, all, own]), Ok(Setting::Otlp(Transport::Http)));
        let wrong = set(&[to, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]).unwrap_err();
        assert!(wrong.contains("OTEL_EXPORTER_OTLP_PROTOCOL is http/json"), "{wrong}");
        let wrong = set(&[to, ("OTEL_TRACES_EXPORTER", "zipkin")]).unwrap_err();
        assert!(wrong.contains("OTEL_TRACES_EXPORTER is zipkin"), "{wrong}");
    }
}
