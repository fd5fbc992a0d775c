"""The routes of the studio, by subject: each file holds one router, and the server includes them all."""

from kshot.studio.routes import actions, camera, events, films, model, page, project, videos

ROUTERS = (
    page.router,
    events.router,
    actions.router,
    videos.router,
    films.router,
    camera.router,
    model.router,
    project.router,
)
"""Every router of the server."""

LARGE = (videos.UPLOAD, camera.FRAME, films.ANNOTATIONS)
"""Paths whose requests may be large: these routes count the bytes that come in themselves."""
