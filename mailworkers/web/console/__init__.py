"""
The operator console: what the internal API tells and does, as pages for people.

front       which requests are the console's, and the door before it
sessions    logging in and out
asking      the API's own routes, called by the pages
pages       how a page is made: its frame, its words, its pills
charts      lines and bars of the overview, as SVG
"""
