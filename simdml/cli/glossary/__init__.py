"""Terms of the field, by theme: definition, formula, unit and source."""
