"""A store in a browser: pages over HTTP on this machine. They read the store at each request and write nothing.

To add a page: a module here with a function `section(site)` that returns its `SiteSection` (its entry in the navigation
and its routes), a template that extends `site.html`, and the function in `SECTIONS` of `app.py`. Its handlers take a
request and return `site.page(request, template, ...)`; they are plain functions, each called in a thread of its own.

- What a handler needs of the store it takes from `site.store` and `site.records()`.
- Parameters come from anywhere: they are looked up in listings, or bound as values of SQL, and become a part of no path
  and of no SQL. `whole(request, name, ...)` reads a number within bounds.
- Templates escape all values. Scripts and styles are files of `static/`: the policy forbids those inside pages.
- A request by another method than GET reaches a route only where a page of this application sent it.
- A RecipeError is shown as a page with status 404, any other GristmillError or OSError with 500.
"""
