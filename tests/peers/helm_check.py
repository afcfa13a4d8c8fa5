"""Helm's own library (helm-python-sdk): lint a chart with values, render it, print both as JSON.

usage: helm_check.py CHART VALUES_JSON
"""

import json
import sys

import helm_python


def main() -> None:
    """One line of JSON: ``errors``, ``messages`` and ``manifests`` (template -> text)."""
    chart, values = sys.argv[1], json.loads(sys.argv[2])
    found = helm_python.lint(chart, values, strict=True)
    answer = {"errors": found["errors"], "messages": found["messages"], "manifests": {}}
    try:
        with helm_python.Chart.load(chart) as loaded:
            loaded.validate_schema(values)
            answer["manifests"] = loaded.render(values, name="plant", namespace="plants")
    except helm_python.HelmError as error:
        answer["errors"] = [*answer["errors"], str(error)]
    sys.stdout.write(json.dumps(answer) + "\n")


main()
