"""The report as one HTML page that needs nothing else: `page.render_report` puts together what the other modules make.

`style.css` and `copy.js` are packed with the package and written into the page.
"""
