"""Reading of the YAML files that users write: recipes and labelling tasks."""

from __future__ import annotations

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.storage import files


def read_text(url: str, noun: str, usage: str) -> str:
    """Read the text of a file. Raises RecipeError where there is none; `noun` and `usage` complete its message."""
    try:
        return files.read_bytes(url).decode()
    except FileNotFoundError:
        raise RecipeError(f"{url}: there is no such {noun}; {usage}") from None
    except IsADirectoryError:
        raise RecipeError(f"{url} is a folder; name the {noun}'s YAML file in it") from None
    except PermissionError:
        raise RecipeError(f"{url} may not be read; give this user the right to") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{url}: a {noun} is UTF-8 text; byte {error.start} is not") from None
    except (ImportError, ValueError) as error:
        raise RecipeError(f"{url} cannot be opened: {error}; see the extras of gristmill: s3, gcs, hf") from None
