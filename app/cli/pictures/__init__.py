"""Pictures of frontiers, prices and levers, as PNG, SVG or one HTML page; loaded only when a picture is asked for."""

import logging

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where it keeps its font cache is no news to a reader
