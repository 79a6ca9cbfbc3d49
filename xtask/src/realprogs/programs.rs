//! The programs, each as two scripts of the shell: one that makes its input, and one that is measured.
//!
//! A script runs in a folder of its own with `RUN` set to what puts a library before the C library's allocator: only
//! what stands behind `$RUN` gets it, and not the shell or a client. `N` is the size of the work. What a script
//! prints is the program's answer, which has to be the same to the byte whichever allocator it had: so
//! seeds are fixed, and what has times or addresses in it is not printed. A script that ends badly has failed.
//!
//! A server is told to end, and waited for: a process that nobody waits for is in no account of memory. One that a
//! failing script leaves behind is killed, or it would keep the pipes open that we read.

/// One program.
pub struct Program {
    /// Its name in tables and on the command line.
    pub name: &'static str,
    /// The commands that it needs, and the package of Debian that has each.
    pub needs: &'static [(&'static str, &'static str)],
    /// `N` in a quick run and in a full one.
    pub sizes: [u32; 2],
    /// Makes the input. Runs once, without a library.
    pub prepare: &'static str,
    /// What is measured.
    pub run: &'static str,
    /// Whether its time and memory mean anything: the stressors' do not.
    pub measured: bool,
}

/// A file of C with many functions, for the compilers.
const C_SOURCE: &str = r##"
awk -v n=$N 'BEGIN {
    print "#include <stdio.h>\n#include <string.h>\nstruct node { int key; struct node *next; char text[24]; };"
    for (i = 0; i < n; i++) {
        printf "static int f%d(struct node *n, int a, int b) {\n    int sum = a * %d;\n", i, i * 7 + 3
        printf "    for (struct node *p = n; p; p = p->next) {\n        switch (p->key %% %d) {\n", i % 11 + 5
        for (j = 0; j < i % 11 + 4; j++)
            printf "        case %d: sum += p->key * %d + (int)strlen(p->text) - b; break;\n", j, i + j
        printf "        default: sum ^= a << (b & %d);\n        }\n    }\n", i % 7
        if (i) printf "    if (sum %% 3) sum += f%d(n ? n->next : n, sum, a);\n", int(i / 2)
        print "    return sum;\n}"
    }
    print "int main(int argc, char **argv) {\n    struct node a = {argc, 0, \"x\"};\n    int sum = 0;"
    for (i = 0; i < n; i++) printf "    sum += f%d(&a, argc, %d);\n", i, i
    print "    printf(\"%d %s\\n\", sum, argv[0]);\n    return 0;\n}"
}' > source.c
"##;

/// All programs, in the order of the table.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "redis",
        needs: &[
            ("redis-server", "redis-server"),
            ("redis-benchmark", "redis-tools"),
            ("redis-cli", "redis-tools"),
        ],
        sizes: [5_000, 60_000],
        prepare: r#"
awk -v n=$N 'BEGIN {
    x = 1
    for (i = 0; i < n * 4; i++) {
        x = (x * 16807) % 2147483647
        key = x % (n + 1)
        text = sprintf("%*s", x % 300 + 1, x)
        gsub(/ /, "-", text)
        if (i % 7 == 0) print "DEL k" (key * 31) % (n + 1)
        else if (i % 5 == 0) print "HSET h" key % 1000 " f" x % 97 " " text
        else if (i % 4 == 0) print "APPEND k" key " " text
        else print "SET k" key " " text
    }
}' >commands
"#,
        // One client, so that commands come in one order.
        run: r#"
$RUN redis-server --port 0 --unixsocket ./socket --save '' --appendonly no --enable-debug-command yes >server.log &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
until redis-cli -s ./socket ping >pong 2>&1 && grep -q PONG pong; do sleep 0.01; done
redis-cli -s ./socket --pipe <commands >pipe.log
redis-benchmark -s ./socket -c 1 -P 32 -n $N -d 100 -q >bench.log \
    -t set,get,incr,lpush,rpush,lpop,sadd,hset,spop,zadd,mset
redis-cli -s ./socket dbsize
redis-cli -s ./socket debug digest
redis-cli -s ./socket shutdown nosave
wait
"#,
        measured: true,
    },
    Program {
        name: "python",
        needs: &[("python3", "python3")],
        sizes: [20_000, 200_000],
        prepare: r#"
cat >script.py <<'END'
import hashlib, json, sys
n = int(sys.argv[1])
rows = [{"id": i, "name": f"name {i * 7919 % n}", "tags": [f"t{i % 97}", f"u{i % 89}"], "x": i / 7} for i in range(n)]
text = json.dumps(rows)
again = json.loads(text)
by_name = {}
for row in again:
    by_name.setdefault(row["name"], []).append(row)
    row["text"] = "-".join(row["tags"]) * (row["id"] % 13)
words = {}
for row in again:
    for word in (row["text"] + " " + row["name"]).split("-"):
        words[word] = words.get(word, 0) + 1
for key in list(by_name)[::3]:
    del by_name[key]
out = json.dumps([sorted(words.items())[:5000], len(by_name), again[::50]], sort_keys=True)
print(hashlib.sha256(out.encode()).hexdigest(), len(out))
END
"#,
        run: "PYTHONMALLOC=malloc PYTHONHASHSEED=0 $RUN python3 script.py $N",
        measured: true,
    },
    Program {
        name: "perl",
        needs: &[("perl", "perl")],
        sizes: [50_000, 600_000],
        prepare: r#"
cat >script.pl <<'END'
my $n = shift; my (%count, %list); my $x = 1;
for my $i (1 .. $n) {
    $x = ($x * 1103515245 + 12345) % 2147483648;
    my $key = "key" . ($x % ($n / 3));
    $count{$key}++; push @{$list{$x % 1000}}, $key . "/" . $i;
    delete $count{"key" . ($x % 1000)} if $i % 5 == 0;
}
my $sum = 0;
for my $k (sort keys %count) { $sum = ($sum * 31 + $count{$k} + length $k) % 1000000007 }
my $text = join ",", map { join "-", @{$list{$_}}[0 .. 2] } sort { $a <=> $b } keys %list;
$text =~ s/key(\d+)/<$1>/g;
print "$sum ", scalar(keys %count), " ", length $text, " ", unpack("%32C*", $text), "\n";
END
"#,
        run: "PERL_HASH_SEED=0 PERL_PERTURB_KEYS=0 $RUN perl script.pl $N",
        measured: true,
    },
    Program {
        name: "sqlite",
        needs: &[("sqlite3", "sqlite3")],
        sizes: [20_000, 300_000],
        prepare: r#"
cat >script.sql <<END
create table t(id integer primary key, k integer, name text, body blob);
with recursive c(n) as (select 1 union all select n + 1 from c where n < $N)
insert into t select n, n * 7919 % 10007, 'name ' || (n * 31 % 5003), zeroblob(n % 200) from c;
create index t_k on t(k); create index t_name on t(name, k);
update t set name = name || '+' || k where id % 3 = 0;
delete from t where id % 7 = 0;
select k, count(*), sum(length(name)), max(name) from t group by k order by k limit 500;
select a.name, count(*) from t a join t b on a.k = b.id group by a.name order by 2 desc, 1 limit 500;
select group_concat(name, ',') from (select name from t order by name, id limit 5000);
vacuum; select count(*), sum(k) from t;
END
"#,
        run: "$RUN sqlite3 :memory: <script.sql",
        measured: true,
    },
    Program {
        name: "gcc",
        needs: &[("gcc", "gcc"), ("awk", "mawk")],
        sizes: [100, 400],
        prepare: C_SOURCE,
        run: "$RUN gcc -O2 -c -o - -x c source.c -o out.o && cat out.o",
        measured: true,
    },
    Program {
        name: "clang",
        needs: &[("clang", "clang"), ("awk", "mawk")],
        sizes: [100, 500],
        prepare: C_SOURCE,
        run: "$RUN clang -O2 -c -x c source.c -o out.o && cat out.o",
        measured: true,
    },
    Program {
        name: "git",
        needs: &[("git", "git"), ("awk", "mawk")],
        sizes: [100, 400],
        prepare: r#"
git init -q -b main made
awk -v n=$N 'BEGIN {
    for (c = 1; c <= n; c++) {
        print "commit refs/heads/main\ncommitter A U Thor <a@example.com> " 1700000000 + c * 60 " +0000"
        print "data <<E\nchange " c "\nE\n"
        for (f = 0; f < 5; f++) {
            file = (c * 7 + f * 13) % 150
            print "M 100644 inline dir" file % 10 "/file" file "\ndata <<E"
            for (l = 0; l < 60 + file; l++) print "line " l " of file " file " " (l % 17 == c % 17 ? c : l * file)
            print "E\n"
        }
    }
}' | git -C made fast-import --quiet --force
"#,
        run: r#"
rm -rf copy && cp -r made copy && cd copy
$RUN git -c gc.auto=0 reset -q --hard
$RUN git -c pack.threads=1 repack -adfq --depth=50 --window=50
$RUN git log --stat --format='%H %s' -M | cksum
$RUN git log -p | cksum
$RUN git blame dir0/file0 | cksum
$RUN git fsck --full 2>&1 | grep -v -e '^notice' -e Checking || true
"#,
        measured: true,
    },
    Program {
        name: "node",
        needs: &[("node", "nodejs")],
        sizes: [20_000, 250_000],
        prepare: r#"
cat >script.js <<'END'
const n = Number(process.argv[2]), crypto = require('crypto'), zlib = require('zlib');
const map = new Map(), hash = crypto.createHash('sha256');
for (let i = 0; i < n; i++) {
    const key = 'k' + (i * 7919) % (n / 4);
    if (!map.has(key)) map.set(key, []);
    map.get(key).push({ i, text: key.repeat(i % 5) });
    if (i % 50 === 0) hash.update(Buffer.alloc(i % 9000 + 1, i & 255));
}
const text = JSON.stringify([...map]);
const packed = zlib.deflateSync(text);
const again = JSON.parse(zlib.inflateSync(packed).toString());
console.log(again.length, text.length, packed.length, hash.update(text).digest('hex'));
END
"#,
        run: "$RUN node script.js $N",
        measured: true,
    },
    Program {
        name: "xz",
        needs: &[("xz", "xz-utils"), ("awk", "mawk")],
        sizes: [50_000, 500_000],
        prepare: r#"
awk -v n=$N 'BEGIN { for (i = 0; i < n; i++) print i * 7919 % 10007, "a line of text", i % 97 }' >text"#,
        run: r#"
$RUN xz -T2 --block-size=1MiB -3 -c text >text.xz
cksum <text.xz
$RUN xz -T2 -dc text.xz | cksum
"#,
        measured: true,
    },
    Program {
        name: "sort",
        needs: &[("sort", "coreutils"), ("awk", "mawk")],
        sizes: [50_000, 900_000],
        prepare: r#"
awk -v n=$N 'BEGIN { x = 1; for (i = 0; i < n; i++) { x = (x * 16807) % 2147483647; print x, "line", i } }' >text"#,
        run: r#"
export LC_ALL=C
$RUN sort --parallel=2 -S 40M text | cksum
$RUN sort --parallel=2 -k3,3n -r text | cksum
"#,
        measured: true,
    },
    Program {
        name: "postgres",
        needs: &[
            ("initdb", "postgresql"),
            ("pgbench", "postgresql-contrib"),
            ("setpriv", "util-linux"),
        ],
        sizes: [100, 1500],
        // It refuses to run as root.
        prepare: r#"
if [ "$(id -u)" = 0 ]; then AS="setpriv --reuid=nobody --regid=nogroup --clear-groups"; else AS=""; fi
echo "$AS" >as; chmod 777 .
$AS initdb -D "$PWD/data" -U bench -A trust --no-sync >initdb.log
"#,
        run: r#"
AS=$(cat as)
$AS $RUN postgres -D "$PWD/data" -k "$PWD" -h '' -c fsync=off -c max_parallel_workers=0 >server.log 2>&1 &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
until pg_isready -q -h "$PWD" -U bench -d postgres; do sleep 0.02; done
export PGHOST="$PWD" PGUSER=bench PGDATABASE=postgres
pgbench -q -i -s 3 >bench.log 2>&1
pgbench -c 2 -j 1 -t $N --random-seed=7 >>bench.log 2>&1
psql -At -c "select sum(abalance), count(*) from pgbench_accounts" -c "select sum(bbalance) from pgbench_branches" \
    -c "select count(*), sum(delta) from pgbench_history" \
    -c "select md5(string_agg(aid || ':' || abalance, ',' order by aid)) from pgbench_accounts"
$AS pg_ctl -D "$PWD/data" -m fast stop >>bench.log
wait
"#,
        measured: true,
    },
    Program {
        name: "stress-malloc",
        needs: &[("stress-ng", "stress-ng")],
        // It keeps what it allocates up to some ten thousand blocks: with larger ones the machine would be the limit.
        sizes: [2_000, 60_000],
        prepare: "",
        run: "$RUN stress-ng --malloc 2 --malloc-ops $N --malloc-bytes 4m --verify --quiet",
        measured: false,
    },
    Program {
        name: "stress-fork",
        needs: &[("stress-ng", "stress-ng")],
        sizes: [200, 3_000],
        prepare: "",
        run: "$RUN stress-ng --fork 2 --fork-ops $N --quiet",
        measured: false,
    },
    Program {
        name: "stress-clone",
        needs: &[("stress-ng", "stress-ng")],
        sizes: [200, 800],
        prepare: "",
        run: "$RUN stress-ng --clone 2 --clone-ops $N --quiet",
        measured: false,
    },
];
