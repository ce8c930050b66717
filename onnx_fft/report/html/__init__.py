"""The report as one HTML page that needs nothing else: `page.render_page` fills the templates beside it.

The other modules prepare what each section shows; the markup is in the `.html` files alone. `style.css` and `copy.js`
are written into the page.
"""
