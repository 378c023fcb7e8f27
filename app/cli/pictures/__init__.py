"""Pictures of frontiers, prices and levers, as PNG, SVG or one HTML page; loaded only when a picture is asked for."""
