package manifest

import (
	"strings"
	"testing"
)

func TestEditServiceIDChangesNothingElse(t *testing.T) {
	for _, test := range []struct{ name, src, id, want string }{
		{"an empty file", "", "x", "service_id = \"x\"\n"},
		{"a value that is there", "# c\nname = 'n'\nservice_id = \"old\"   # keep\n[a]\n", "new", "# c\nname = 'n'\nservice_id = \"new\"   # keep\n[a]\n"},
		{"a value that is emptied", `service_id="old"`, "", `service_id=""`},
		{"an empty value that is set", `service_id = ''`, "x", `service_id = "x"`},
		{"a quoted key", `"service_id"	=	"""old"""`, "x", `"service_id"	=	"x"`},
		{"a value of another type", "service_id = [\n 1,\n]\nname = 'n'\n", "x", "service_id = \"x\"\nname = 'n'\n"},
		{"a key of the same name in a table", "name = 'n'\n[setup]\nservice_id = 'no'\n", "x", "name = 'n'\nservice_id = \"x\"\n[setup]\nservice_id = 'no'\n"},
		{"no key, and a comment on the last line", "name = 'n' # c", "x", "name = 'n' # c\nservice_id = \"x\"\n"},
		{"no key, and tables", "name = 'n'\n\n# of the table\n[setup]\n", "x", "name = 'n'\nservice_id = \"x\"\n\n# of the table\n[setup]\n"},
		{"no key, and a value of several lines", "authors = [\n  'a',\n]\n\n[setup]\n", "x", "authors = [\n  'a',\n]\nservice_id = \"x\"\n\n[setup]\n"},
		{"tables only", "[setup]\n", "x", "service_id = \"x\"\n\n[setup]\n"},
		{"tables only, behind a header comment", "# This file\n# is good.\n\n# of the table\n[setup]\n", "x", "# This file\n# is good.\n\nservice_id = \"x\"\n\n# of the table\n[setup]\n"},
		{"tables only, with their comment", "# of the table\n[setup]\n", "x", "service_id = \"x\"\n\n# of the table\n[setup]\n"},
		{"an empty line first", "\n[setup]\n", "x", "service_id = \"x\"\n\n[setup]\n"},
		{"a comment only", "# c", "x", "service_id = \"x\"\n\n# c"},
		{"line ends of another system", "name = 'n'\r\n[a]\r\n", "x", "name = 'n'\r\nservice_id = \"x\"\r\n[a]\r\n"},
		{"a byte order mark", "\ufeffservice_id = 'old'", "x", "\ufeffservice_id = \"x\""},
		{"an id that needs quoting", "service_id = 'old'", "a\"\\\n\x7fé", `service_id = "a\"\\\u000A\u007Fé"`},
		{"a dotted key before it", "setup.backends.b.port = 1\nservice_id = 'old'\n", "x", "setup.backends.b.port = 1\nservice_id = \"x\"\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := EditServiceID([]byte(test.src), test.id)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestEditServiceIDRefusesWhatItCannotEdit(t *testing.T) {
	for _, test := range []struct{ name, src, id, want string }{
		{"a file that is not TOML", "name = \n", "x", "1:8: TOML: "},
		{"a key defined twice", "name = 1\nname = 2", "x", "2:1: name: already defined"},
		{"an id that is no text", "", "\xff", "UTF-8"},
		{"a table", "[service_id]\n", "x", "a table"},
		{"a table behind others", "name = 'n'\n[setup]\n[service_id.x]\n", "x", "by hand"},
		{"a list of tables", "[[service_id]]\n", "x", "a table"},
		{"a dotted key", "service_id.x = 1\n", "x", "a table"},
		{"a huge file", strings.Repeat("#", maxSize+1), "x", "larger than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := EditServiceID([]byte(test.src), test.id)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %.200q, %v; want an error with %q", got, err, test.want)
			}
		})
	}
}
