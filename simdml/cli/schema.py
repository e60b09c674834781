"""``simdml schema``."""

from __future__ import annotations

import click

from simdml.cli.writing import json_text
from simdml.scenario.json_schema import scenario_schema


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of scenario files.

    Save it, and start a scenario with "# yaml-language-server: $schema=./scenario.schema.json": editors that speak
    the YAML language server then complete, explain and check every line.
    """
    click.echo(json_text(scenario_schema()), nl=False)
