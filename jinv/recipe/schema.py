"""The config's keys as a JSON schema: what an editor completes, explains and underlines."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from jinv.recipe.recipe import Recipe


class _Editors(GenerateJsonSchema):
    """Without what TOML has no word for (null), and without titles that repeat the keys."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        written = super().default_schema(schema)
        return {name: value for name, value in written.items() if name != "default" or value is not None}

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> dict[str, Any]:
    """The schema of a config."""
    schema = Recipe.model_json_schema(schema_generator=_Editors)
    schema["description"] = "An experiment of jinv: images of chosen classes, synthesised from a network."
    return {"$schema": _Editors.schema_dialect, **schema, "title": "jinv config"}
