"""What people and programs touch: the command line, the HTTP server, the report, the demo.

Parses, calls one public function of a workspace, renders. Does not know anything below by its
private name, and decides nothing that a Python caller would miss.
"""
