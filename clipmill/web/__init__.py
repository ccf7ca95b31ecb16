"""The local viewer: a server on the loopback interface, and a page made of plain ES modules.

    from clipmill.web.app import create_app
    from clipmill.web.state import Viewer
    app = create_app(Viewer("corpus"), token="secret")

A page area is one Python module `api_<area>.py` with a `router`, and one module of the page
`page/<area>.js` with a function `show`. Nothing here writes to a catalog but the labels of a person
who was named when the viewer was started.
"""
