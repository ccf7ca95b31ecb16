// Part of the clip page.
