"""The same documents in the files that people have, as pandas and pyarrow write them: `python tests/golden/source_files.py`.

pip install pandas==3.1.1 pyarrow==26.0.1 zstandard==0.25.0
"""

import gzip
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

# (author, title, content); a content that is null or blank is no document.
ROWS = [
    ("Ana Ruiz", "Copla", "No descansa la guadaña\nni el sol se quita la gorra;\nen la punta del bancal\nme espera un palmo de sombra."),
    ("", "Sin autor", "«¿Quién va?», dijo; y nadie,\nnadie respondió.\n\n—¡Soy yo! —gritó el pingüino…"),
    ("José Ñu", None, "Una sola línea, con \"comillas\" y una coma, o dos"),
    ("Luis", "Vacío", None),
    ("Luis", "Blanco", " \n "),
    ("Íñigo", "Tres; estrofas", "uno\n\ndos\n\n\n  tres con sangría\n\ttabulado"),
    ("Eva", "Barra\\invertida", "a\\nb no es un salto\nde línea | ni esto"),
]


def frame(lines: str = "\n") -> pd.DataFrame:
    table = pd.DataFrame(ROWS, columns=["author", "title", "content"])
    table["content"] = table["content"].str.replace("\n", lines)
    return table


def tables(here: Path) -> None:
    # As a spreadsheet that speaks Spanish saves: `;`, Windows-1252, CRLF in cells and after rows.
    frame("\r\n").to_csv(here / "spreadsheet.csv", sep=";", encoding="cp1252", lineterminator="\r\n", index=False)
    frame().to_csv(here / "pandas.csv", index=True)
    frame().to_csv(here / "bom.csv", encoding="utf-8-sig", quoting=1, index=False)
    frame().to_csv(here / "utf16.tsv", sep="\t", encoding="utf-16", index=False)
    (here / "utf16be.csv").write_bytes(frame().to_csv(index=False).encode("utf-16-be"))
    # Two members, as `cat a.gz b.gz` makes them.
    text = frame().to_csv(index=False).encode()
    members = [gzip.compress(part, mtime=0) for part in (text[:150], text[150:])]
    (here / "members.csv.gz").write_bytes(b"".join(members))


def jsons(here: Path) -> None:
    frame().to_json(here / "escaped.json", orient="records", force_ascii=True)
    frame().to_json(here / "pretty.json", orient="records", force_ascii=False, indent=2)
    frame().to_json(here / "lines.jsonl", orient="records", lines=True, force_ascii=False)
    text = (here / "lines.jsonl").read_bytes()
    (here / "lines.jsonl.zst").write_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(text))


def parquets(here: Path) -> None:
    authors, titles, contents = (list(column) for column in zip(*ROWS))
    others = {
        "id": pa.array(range(len(ROWS)), pa.int64()),
        "tags": pa.array([["a", "b"], [], None, ["c"], [], [], ["ñ"]], pa.list_(pa.string())),
    }
    plain = pa.table({**others, "author": authors, "title": titles, "content": contents})
    pq.write_table(plain, here / "snappy.parquet", compression="snappy", row_group_size=3)
    large = pa.table(
        {
            "content": pa.array(contents, pa.large_string()),
            "author": pa.array(authors).dictionary_encode(),
            "title": pa.array(titles, pa.large_string()),
            **others,
        }
    )
    pq.write_table(large, here / "large.parquet", compression="zstd", use_dictionary=False, data_page_size=64)
    delta = {name: "DELTA_BYTE_ARRAY" for name in ("author", "title", "content")}
    pq.write_table(
        plain.drop_columns(list(others)),
        here / "delta.parquet",
        compression="gzip",
        use_dictionary=False,
        column_encoding=delta,
        data_page_version="2.0",
        row_group_size=2,
    )
    not_null = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("author", "title", "content")])
    rows = [[text or "" for text in column] for column in (authors, titles, contents)]
    pq.write_table(pa.table(rows, schema=not_null), here / "required.parquet", compression="none")


def main() -> None:
    here = Path(__file__).parent / "sources"
    here.mkdir(exist_ok=True)
    tables(here)
    jsons(here)
    parquets(here)
    kept = [row for row in ROWS if row[2] and row[2].strip()]
    documents = [{"author": a, "title": t or "", "text": c} for a, t, c in kept]
    text = json.dumps(documents, ensure_ascii=False, indent=1) + "\n"
    (Path(__file__).parent / "sources.json").write_text(text)


if __name__ == "__main__":
    main()
