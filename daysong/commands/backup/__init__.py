"""`daysong backup`, `restore` and `resume`: the database, the stored files and the journal of removals in a folder."""
