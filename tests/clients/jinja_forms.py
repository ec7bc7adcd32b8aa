"""Renders templates with the real Jinja2, as Skyvern does: in its sandbox.

    jinja_forms.py FILE            exits 1 and names each form whose stored text differs
    jinja_forms.py FILE --write    stores the result of Jinja2 for each form

FILE has `context` and `forms`, pairs of a template and its text; null stands for an error."""

import json
import sys

from jinja2.sandbox import SandboxedEnvironment

environment = SandboxedEnvironment()


def render(template, context):
    try:
        return environment.from_string(template).render(json.loads(json.dumps(context)))
    except Exception as error:
        print(f"{template}: {error}", file=sys.stderr)
        return None


def main():
    path = sys.argv[1]
    with open(path, encoding="utf-8") as file:
        stored = json.load(file)
    pairs = [[form, render(form, stored["context"])] for form, _text in stored["forms"]]
    if sys.argv[2:] == ["--write"]:
        lines = ",\n".join("  " + json.dumps(pair, ensure_ascii=False) for pair in pairs)
        context = json.dumps(stored["context"], ensure_ascii=False)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'{{"context": {context},\n"forms": [\n{lines}\n]}}\n')
        return 0
    wrong = [(now, then) for now, then in zip(pairs, stored["forms"]) if now != then]
    for now, then in wrong:
        print(f"{now[0]}: Jinja2 gives {now[1]!r}, stored is {then[1]!r}")
    print(f"{len(pairs)} forms, {len(wrong)} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
