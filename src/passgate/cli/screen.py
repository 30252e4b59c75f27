"""What the commands take of rich: a screen of its own, lines of styled text, tables.

Here and nowhere else its name is known. Only commands that draw import this: it takes a
sixth of a second to load.
"""

from rich.bar import Bar
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

__all__ = ["Bar", "Console", "Group", "Live", "Table", "Text"]
