"""The economics: from watts and milliseconds to dollars per million tokens. Pure; imports nothing here on purpose."""
