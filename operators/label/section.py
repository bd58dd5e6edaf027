"""The base of every part of a labelling task."""

from pydantic import BaseModel, ConfigDict


class TaskSection(BaseModel):
    """A part of a task: frozen, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
