//! Conditions on texts, headers and query parameters, and shares of traffic.

use kuma_core::ir::{Denominator, Fraction, HeaderCondition, HeaderTest, QueryCondition, QueryTest, RegexRewrite};

use super::proto::{
    core::RuntimeFractionalPercent,
    matcher::{RegexMatchAndSubstitute, RegexMatcher, StringMatcher, string_matcher::MatchPattern},
    route::{
        HeaderMatcher, QueryParameterMatcher, header_matcher::HeaderMatchSpecifier,
        query_parameter_matcher::QueryParameterMatchSpecifier,
    },
    types::{FractionalPercent, fractional_percent::DenominatorType},
};

/// An RE2 expression; the engine is the bootstrap's default.
pub(super) fn regex(expression: &str) -> RegexMatcher {
    RegexMatcher { regex: expression.to_owned(), engine_type: None }
}

/// Substitution of what an expression matches.
pub(super) fn substitution(rewrite: &RegexRewrite) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute {
        pattern: Some(regex(&rewrite.pattern)),
        substitution: rewrite.substitution.as_ref().to_owned(),
    }
}

/// Equals.
pub(super) fn exact(text: &str) -> StringMatcher {
    pattern(MatchPattern::Exact(text.to_owned()))
}

/// Condition on a header.
pub(super) fn header(condition: &HeaderCondition) -> HeaderMatcher {
    let test = match &condition.value {
        HeaderTest::Exact(text) => HeaderMatchSpecifier::StringMatch(exact(text)),
        HeaderTest::Prefix(text) => {
            HeaderMatchSpecifier::StringMatch(pattern(MatchPattern::Prefix(text.as_ref().to_owned())))
        }
        HeaderTest::Regex(text) => HeaderMatchSpecifier::StringMatch(pattern(MatchPattern::SafeRegex(regex(text)))),
        HeaderTest::Present(present) => HeaderMatchSpecifier::PresentMatch(*present),
    };
    HeaderMatcher { name: condition.name.as_ref().to_owned(), header_match_specifier: Some(test), ..Default::default() }
}

/// Condition on a query parameter.
pub(super) fn query(condition: &QueryCondition) -> QueryParameterMatcher {
    let test = match &condition.value {
        QueryTest::Exact(text) => exact(text),
        QueryTest::Regex(text) => pattern(MatchPattern::SafeRegex(regex(text))),
    };
    QueryParameterMatcher {
        name: condition.name.as_ref().to_owned(),
        query_parameter_match_specifier: Some(QueryParameterMatchSpecifier::StringMatch(test)),
    }
}

/// A share of traffic, not changeable at run time.
pub(super) fn fraction(fraction: Fraction) -> RuntimeFractionalPercent {
    let denominator = match fraction.denominator {
        Denominator::Hundred => DenominatorType::Hundred,
        Denominator::TenThousand => DenominatorType::TenThousand,
        Denominator::Million => DenominatorType::Million,
    };
    RuntimeFractionalPercent {
        default_value: Some(FractionalPercent { numerator: fraction.numerator, denominator: denominator.into() }),
        runtime_key: String::new(),
    }
}

fn pattern(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ignore_case: false }
}
