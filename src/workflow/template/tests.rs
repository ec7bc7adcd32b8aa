use serde_json::{Value, json};

use super::*;

fn names() -> Names {
    let values = json!({
        "name": "Ada", "flag": true, "rows": [{ "id": 1 }, { "id": 2 }], "csv": "a,b",
    });
    Names::new(values.as_object().unwrap())
}

#[track_caller]
fn check(text: &str, expected: Result<&str, &str>) {
    let found = Renderer::new(false).text("url", text, &names());
    let found = found.map_err(|error| error.expression);
    assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
}

#[test]
fn values_lists_and_methods_of_python_are_rendered() {
    check("no template", Ok("no template"));
    check("Hello {{ name }}", Ok("Hello Ada"));
    check("{% for row in rows %}{{ row.id }};{% endfor %}", Ok("1;2;"));
    check("{{ name.upper() }} {{ csv.split(',')[1] }}", Ok("ADA b"));
    check("{{ rows | tojson }}", Ok(r#"[{"id": 1}, {"id": 2}]"#));
    check("{{ rows }} {{ none }}", Ok("[{'id': 1}, {'id': 2}] None"));
}

#[test]
fn urls_are_escaped_as_by_python() {
    check("{{ 'a b/ü~_.-%20+' | urlencode }}", Ok("a%20b/%C3%BC~_.-%2520%2B"));
    check("{{ {'a b': '/ü +'} | urlencode }}", Ok("a+b=%2F%C3%BC+%2B"));
}

#[test]
fn a_number_has_one_sign_and_it_comes_first() {
    check("{{ '-0x1f' | int(base=16) }} {{ '+7' | int }} {{ ' -8.9 ' | int }}", Ok("-31 7 -8"));
    check("{{ '0x+5' | int(base=16) }} {{ '--5' | int }} {{ '+-5' | int(3) }}", Ok("0 0 3"));
    check("{{ '&#x41;&#65;&#x+41;&#+65;' | striptags }}", Ok("AA&#x+41;&#+65;"));
}

#[test]
fn an_unknown_name_is_nothing_unless_strict() {
    check("<{{ nobody }}{{ nobody.at.all }}>", Ok("<>"));
    let error = Renderer::new(true).text("url", "a {{ nobody }} b", &names()).unwrap_err();
    assert_eq!((error.field.as_str(), error.expression.as_str()), ("url", "{{ nobody }}"));
}

#[test]
fn an_error_names_the_expression() {
    check("a {{ name }} b {{ name | nope }} c", Err("{{ name | nope }}"));
    check("{{ name", Err("{{ name"));
    check(
        "x {% for a in range(1000) %}{% for b in range(10000) %}.{% endfor %}{% endfor %}",
        Err("{% for b in range(10000) %}"),
    );
}

#[test]
fn texts_are_rendered_however_deep_but_not_where_skipped() {
    let value = json!({ "a": ["{{ name }}", 1], "b": { "c": "{{ flag }}" }, "code": "{{ name }}" });
    let found = Renderer::new(false).value("", &value, &["code"], &names()).unwrap();
    assert_eq!(found, json!({ "a": ["Ada", 1], "b": { "c": "True" }, "code": "{{ name }}" }));
    let wrong = json!({ "a": { "b": ["{{ 1 + }}"] } });
    let error = Renderer::new(false).value("", &wrong, &[], &names()).unwrap_err();
    assert_eq!(error.field, "a.b.0");
}

#[test]
fn truth_is_that_of_the_compatible_api() {
    for text in ["", " ", "False", "0", "0.0", "no", "N", "off", "null", "None"] {
        assert!(!truth(text), "{text:?}");
    }
    for text in ["true", "1", "-2", "yes", "Y", "on", "anything"] {
        assert!(truth(text), "{text:?}");
    }
}

#[test]
fn forms_are_rendered_as_by_jinja2() {
    let table = include_str!("../../../tests/clients/jinja_forms.json");
    let table: Value = serde_json::from_str(table).unwrap();
    let names = Names::new(table["context"].as_object().unwrap());
    let renderer = Renderer::new(false);
    let forms = table["forms"].as_array().unwrap();
    assert!(forms.len() >= 150);
    let wrong: Vec<String> = forms
        .iter()
        .filter_map(|form| {
            let (text, expected) = (form[0].as_str().unwrap(), form[1].as_str());
            let found = renderer.text("x", text, &names);
            let checked = expected.is_none() || renderer.check("x", text).is_ok();
            (found.as_deref().ok() != expected || !checked)
                .then(|| format!("{text}\n   Jinja2: {expected:?}\n   found:  {found:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// A form that makes the engine recurse: its name, and its text for a number of repetitions.
type Form = (&'static str, fn(usize) -> String);

const FORMS: &[Form] = &[
    ("not", |n| format!("{{{{ {}1 }}}}", "not ".repeat(n))),
    ("minus", |n| format!("{{{{ {}1 }}}}", "-".repeat(n))),
    ("plus", |n| format!("{{{{ {}1 }}}}", "1+".repeat(n))),
    ("concat", |n| format!("{{{{ {}1 }}}}", "1~".repeat(n))),
    ("ternary", |n| format!("{{{{ {}1 }}}}", "1 if 0 else ".repeat(n))),
    ("postfix if", |n| format!("{{{{ 1{} }}}}", " if 1".repeat(n))),
    ("filters", |n| format!("{{{{ 1{} }}}}", "|string".repeat(n))),
    ("attributes", |n| format!("{{{{ a{} }}}}", ".b".repeat(n))),
    ("items", |n| format!("{{{{ a{} }}}}", "[0]".repeat(n))),
    ("slices", |n| format!("{{{{ a{} }}}}", "[:]".repeat(n))),
    ("elif", |n| format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(n))),
    ("if", |n| format!("{}{}", "{% if 1 %}".repeat(n), "{% endif %}".repeat(n))),
    ("for", |n| format!("{}{}", "{% for x in [1] %}".repeat(n), "{% endfor %}".repeat(n))),
    ("with", |n| format!("{}{}", "{% with a=[a] %}".repeat(n), "{% endwith %}".repeat(n))),
    ("set block", |n| format!("{}{}", "{% set a %}".repeat(n), "{% endset %}".repeat(n))),
    ("filter", |n| format!("{}{}", "{% filter upper %}".repeat(n), "{% endfilter %}".repeat(n))),
    ("lists", |n| format!("{{{{ {}{} }}}}", "[".repeat(n), "]".repeat(n))),
    ("tuples", |n| format!("{{{{ {}{} }}}}", "(".repeat(n), ",)".repeat(n))),
    ("maps", |n| format!("{{{{ {}1{} }}}}", "{1:".repeat(n), "}".repeat(n))),
    ("calls", |n| format!("{{{{ a{} }}}}", "()".repeat(n))),
    ("arguments", |n| format!("{{{{ {}1{} }}}}", "range(".repeat(n), ")".repeat(n))),
    ("is", |n| format!("{{{{ 1{} }}}}", " is defined".repeat(n))),
    ("is not", |n| format!("{{{{ 1{} }}}}", " is not defined".repeat(n))),
    ("pow", |n| format!("{{{{ {}1 }}}}", "2**".repeat(n))),
    ("remainder", |n| format!("{{{{ {}1 }}}}", "2%".repeat(n))),
    ("and", |n| format!("{{{{ {}1 }}}}", "1 and ".repeat(n))),
    ("in", |n| format!("{{{{ 1{} }}}}", " in [1]".repeat(n))),
    ("compare", |n| format!("{{{{ {}1 }}}}", "1<".repeat(n))),
    ("targets", |n| format!("{{% for {}a in b %}}{{% endfor %}}", "(".repeat(n))),
    ("with chain", |n| format!("{{% with a=1{} %}}{{{{ a }}}}{{% endwith %}}", ",a=[a]".repeat(n))),
    ("defaults", |n| {
        format!(
            "{{% macro m(a=1{}) %}}{{{{ a }}}}{{% endmacro %}}{{{{ m() }}}}",
            ",a=[a]".repeat(n)
        )
    }),
];

/// Shallow forms that create deep values when they are rendered.
const DEEP_VALUES: &[Form] = &[
    ("assignments", |n| format!("{}{{{{ x }}}}", "{% set x=[x] %}".repeat(n))),
    ("namespace", |n| {
        format!(
            "{{% set s = namespace(a=1) %}}{{% for i in range({n}) %}}{{% set s.a = [s.a] %}}\
             {{% endfor %}}{{{{ s.a }}}}"
        )
    }),
    ("namespace of maps", |n| {
        format!(
            "{{% set s = namespace(a=1) %}}{{% for i in range({n}) %}}{{% set s.a = {{'k': s.a}} %}}\
             {{% endfor %}}{{{{ s.a | tojson }}}}"
        )
    }),
    ("namespace of tuples", |n| {
        format!(
            "{{% set s = namespace(a=1) %}}{{% for i in range({n}) %}}{{% set s.a = (s.a,) %}}\
             {{% endfor %}}{{{{ s.a == s.a }}}}"
        )
    }),
    ("namespace of iterators", |n| {
        format!(
            "{{% set s = namespace(a=[1]) %}}{{% for i in range({n}) %}}{{% set s.a = s.a|zip %}}\
             {{% endfor %}}{{{{ s.a | list }}}}"
        )
    }),
    ("namespace of cyclers", |n| {
        format!(
            "{{% set s = namespace(a=1) %}}{{% for i in range({n}) %}}{{% set s.a = cycler(s.a) %}}\
             {{% endfor %}}{{{{ s.a.next() }}}}"
        )
    }),
    ("appended", |n| {
        format!(
            "{{% set l = [] %}}{{% for i in range({n}) %}}{{% set _ = l.append(l) %}}{{% endfor %}}\
             {{{{ l | length }}}}"
        )
    }),
    ("macros", |n| {
        format!(
            "{{% macro m(a) %}}{{{{ m([a]) }}}}{{% endmacro %}}{{{{ m({}) }}}}",
            "[".repeat(n.min(50)) + &"]".repeat(n.min(50))
        )
    }),
    ("loops", |n| {
        format!(
            "{{% for a in [1] recursive %}}{{{{ loop([[a]]) }}}}{{% endfor %}}{}",
            "{{ 1 }}".repeat(n)
        )
    }),
];

#[test]
fn no_form_overflows_the_stack_however_often_it_is_repeated() {
    // The check must hold on the stack of a worker, not only on the larger one of a test.
    let work = || {
        let renderer = Renderer::new(false);
        for count in [300, 390, 3_000, 150_000] {
            for (name, form) in FORMS {
                let text = form(count);
                let checked = renderer.check("url", &text);
                let rendered = renderer.text("url", &text, &names());
                assert!(count < 3_000 || checked.is_err(), "{name} {count} is accepted");
                assert!(checked.is_ok() || rendered.is_err(), "{name} {count} is rendered");
                if let Some(inner) = pure_expression(&text) {
                    let checked = renderer.check_expression("x", inner);
                    let value = renderer.evaluate("x", inner, &names());
                    assert!(checked.is_ok() || value.is_err(), "{name} {count} is evaluated");
                }
            }
        }
        for (name, form) in DEEP_VALUES {
            let rendered = renderer.text("url", &form(3_000), &names());
            let length = rendered.map_or(0, |text| text.len());
            assert!(length < 10_000_000, "{name} is {length} long");
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn nothing_holds_itself() {
    for text in [
        "{% set s = namespace() %}{% set s.a = s %}{{ s }}",
        "{% set s = namespace() %}{% set s.a = [s] %}{{ s }}",
        "{% set s = namespace() %}{% set s.a = {'b': (s,)} %}{{ s.a }}",
        "{% set s = namespace() %}{% set s.a | default(s, true) %}{% endset %}{{ s }}",
        "{% set s = namespace() %}{% set t = namespace(s=s) %}{{ t }}",
    ] {
        assert!(Renderer::new(false).text("x", text, &names()).is_err(), "{text}");
    }
    check("{% set l = [1] %}{% set _ = l.append(l) %}{{ l }}", Ok("[1, [1]]"));
    check("{% set s = namespace() %}{% set s.a = s.items() %}{{ s.a }}", Ok("[]"));
}

#[test]
fn what_could_never_be_rendered_is_refused_before() {
    let renderer = Renderer::new(false);
    for text in [
        "{{ name | nope }}",
        "{{ name is nope }}",
        "{{ name is not nope }}",
        "{{ 1 + }}",
        "{% if %}",
        "{{ name",
        "{% for %}{% endfor %}",
        "{{ __greenroom_set }}",
    ] {
        assert!(renderer.check("url", text).is_err(), "{text}");
    }
    for text in ["plain {", "{{ nobody.at.all }}", "{{ name | upper }}", "{# {{ #}"] {
        assert_eq!(renderer.check("url", text), Ok(()), "{text}");
    }
    assert!(renderer.check("url", &format!("{{{{ 1 }}}}{}", " ".repeat(1 << 20))).is_err());
}

#[test]
fn a_short_template_makes_no_long_text() {
    let renderer = Renderer::new(false);
    for text in [
        "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
        "{{ ('a' * 100000).replace('', 'b' * 100000) }}",
        "{{ ('a' * 100000).join(range(10000)) }}",
        "{{ ('{0}' * 10000).format('a' * 100000) }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ ('%s' * 10000) % (('a' * 100000,) * 10000) }}",
        "{{ ('a ' * 100000) | wordwrap(1, wrapstring='b' * 100000) }}",
        "{{ ('www.a.com ' * 10000) | urlize(target='b' * 100000) }}",
        "{{ ('\t' * 1000000).expandtabs(256) }}",
        "{{ 'a'.ljust(99999999) }}",
        "{{ 'a' | center(99999999) }}",
        "{{ lipsum(n=99999999) }}",
        "{{ (['a' * 100000] * 10000) | tojson }}",
        "{{ (['a' * 100000] * 10000) | json }}",
        "{{ (['a' * 100000] * 10000) | pprint }}",
        "{{ [1] | batch(999999999, 'x') | list | length }}",
        "{{ [1] | slice(999999999) | list | length }}",
    ] {
        let rendered = renderer.text("x", text, &names());
        assert!(rendered.is_err(), "{text} gave {} bytes", rendered.map_or(0, |it| it.len()));
    }
}

#[test]
fn a_fault_of_the_engine_fails_its_template_only() {
    // The engine slices within a character of two bytes where it expects the key of a format.
    let text = "{{ '{0[ß' | string }}{{ '%(aß'.format(1) }}{{ '%(aß' % {'a': 1} }}";
    assert!(Renderer::new(false).text("x", text, &names()).is_err());
    let broken: Result<(), String> = with_stack(true, || panic!("as a test"));
    assert!(broken.is_err());
}

#[test]
fn nothing_shows_what_the_engine_knows() {
    check("{{ debug() }}", Err("{{ debug() }}"));
    check("{{ debug(name) }}", Err("{{ debug(name) }}"));
}

#[test]
fn an_error_after_a_rewritten_form_names_its_own_expression() {
    check("{% set x = 7 % 4 %}{{ x }} {{ name | nope }}", Err("{{ name | nope }}"));
    check("{% set s = namespace() %}{% set s.x = 1 %}a {{ 1 + }} b", Err("{{ 1 + }}"));
}

#[test]
fn the_filter_json_gives_the_value_itself() {
    let renderer = Renderer::new(false);
    let value =
        json!({ "rows": "{{ rows | json }}", "flag": "{{ flag | json }}", "n": "{{ 1 + 1 }}" });
    let found = renderer.value("", &value, &[], &names()).unwrap();
    assert_eq!(found, json!({ "rows": [{ "id": 1 }, { "id": 2 }], "flag": true, "n": "2" }));
    let beside = json!({ "rows": "all: {{ rows | json }}" });
    assert_eq!(renderer.value("", &beside, &[], &names()).unwrap_err().field, "rows");
    assert!(renderer.text("condition", "{{ flag | json }}", &names()).is_err());
}

#[test]
fn templates_in_code_are_rendered_but_not_those_in_its_comments() {
    let code = "x = '{{ name }}'  # not {{ nope | nope }}\nreturn x";
    let found = Renderer::new(false).code("code", code, &names());
    assert_eq!(found.unwrap(), "x = 'Ada'  # not {{ nope | nope }}\nreturn x");
    let plain = "d = {'a': {}}\nreturn f'{d}'";
    assert_eq!(Renderer::new(false).code("code", plain, &names()).unwrap(), plain);
}

#[test]
fn the_value_of_an_expression_is_not_deep() {
    let deep = (0..110).fold(json!(1), |inner, _level| json!([inner]));
    let values = json!({ "deep": deep, "flat": [1, 2] });
    let names = Names::new(values.as_object().unwrap());
    let renderer = Renderer::new(false);
    assert_eq!(renderer.evaluate("x", "flat", &names).unwrap(), json!([1, 2]));
    assert!(renderer.evaluate("x", "deep", &names).is_err());
    assert!(renderer.evaluate("x", &"-".repeat(30_000), &names).is_err());
}

proptest::proptest! {
    #[test]
    fn any_text_is_rendered_or_refused(
        parts in proptest::collection::vec(proptest::sample::select(vec![
            "{{", "}}", "{%", "%}", "{#", "#}", " ", "-", "not ", "a", "1", "1.5e", ".", "(", ")", "[", "]",
            "{", "}", "|", "%", "'", "\"", "\\", "set ", "=", "for ", "in ", "if ", "elif ", "else ",
            "endif", "endfor", "endset", "raw", "endraw", "namespace()", "ns.x", "is ", "defined", ",",
            "~", "upper", "ä", "\n", "**", "//", "macro ", "endmacro", "do ", "range(9)",
        ]), 0..40)
    ) {
        let text = parts.concat();
        let renderer = Renderer::new(false);
        let _outcome = renderer.check("x", &text);
        let _outcome = renderer.text("x", &text, &names());
        let _outcome = renderer.evaluate("x", &text, &names());
        let (masked, hidden) = comments::masked(&text);
        proptest::prop_assert_eq!(comments::restored(&masked, &hidden), text);
    }
}
