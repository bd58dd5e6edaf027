// Keys: every page works without this script.
"use strict";
