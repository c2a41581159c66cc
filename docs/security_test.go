package docs_test

import (
	"os"
	"regexp"
	"testing"
)

// Whatever the command prints as a known advisory is explained in SECURITY.md as well.
func TestSecurityNamesEveryAdvisory(t *testing.T) {
	table, err := os.ReadFile("../cmd/wasmedge/advisories.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	ids := regexp.MustCompile(`GHSA(-[0-9a-z]{4}){3}|CVE-[0-9]+-[0-9]+`)
	for _, id := range ids.FindAllString(string(text), -1) {
		known[id] = true
	}
	printed := ids.FindAllString(string(table), -1)
	if len(printed) == 0 {
		t.Fatal("no advisory found in the command's table")
	}
	for _, id := range printed {
		if !known[id] {
			t.Errorf("%s is printed by the command and not in SECURITY.md", id)
		}
	}
	day := regexp.MustCompile(`advisoriesAsOf = "([0-9-]+)"`).FindSubmatch(table)
	if day == nil || !regexp.MustCompile("State of "+string(day[1])).Match(text) {
		t.Error("SECURITY.md does not have the day of the command's table")
	}
}
