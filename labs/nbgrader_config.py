"""Settings for teachers: with them, `nbgrader generate_assignment` leaves the same stub as `make labs`."""

c = get_config()  # noqa: F821 (nbgrader defines it)

c.ClearSolutions.code_stub = {"python": "..."}
