"""tasks/decline_templates: wordings of questions outside the families, and the words that fill them."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.replace("_", " ") for word in text.split())


WORDS: dict[str, tuple[str, ...]] = {
    "place": _words(
        "Paris London Rome Berlin Madrid Tokyo Cairo Lima Oslo Delhi Vienna Athens Moscow Boston Chicago Sydney "
        "France Spain Italy Germany Japan China India Brazil Egypt Kenya Peru Norway Canada Mexico Poland Greece "
        "Turkey Texas Africa Europe Asia Iceland Ireland Scotland Chile Cuba Nepal Prague Lisbon Dublin New_York "
        "Hong_Kong"),
    "person": _words(
        "Newton Einstein Mozart Shakespeare Napoleon Caesar Plato Darwin Galileo Homer Bach Lincoln Cleopatra Gandhi "
        "Picasso Dante Columbus Aristotle Beethoven Tesla Edison Curie Kant Chopin Goethe Tolstoy Washington Euler"),
    "animal": _words(
        "cat dog horse lion tiger bear wolf fox whale shark eagle owl snake frog bee ant spider elephant monkey "
        "rabbit penguin dolphin camel goat sheep cow pig duck swan bat crow turtle lizard zebra giraffe mouse"),
    "topic": _words(
        "love music history science nature war peace art religion football chess cooking space the_moon the_sea "
        "the_sun winter summer spring friendship money time death happiness school work gardens rain snow dreams "
        "poetry philosophy politics computers robots the_ocean volcanoes dinosaurs climate medicine travel fashion"),
    "language": _words(
        "French German Spanish Italian Latin Greek Japanese Chinese Russian Arabic Dutch Polish Hindi Korean Turkish "
        "Swedish Portuguese Finnish Danish Hungarian"),
    "code": _words("Python Java Rust C Go Ruby JavaScript Haskell SQL Bash Swift PHP Lisp HTML CSS Kotlin Perl"),
    "codetask": _words(
        "sorts_a_list reverses_a_string reads_a_file prints_hello counts_words finds_primes adds_two_numbers "
        "opens_a_window parses_JSON draws_a_circle sends_mail computes_a_sum downloads_a_page checks_a_password"),
    "phrase": _words(
        "good_morning hello thank_you I_love_you where_is_the_station how_are_you the_cat_sleeps see_you_tomorrow "
        "good_night I_am_hungry the_house_is_red my_name_is_Tom please_help_me the_water_is_cold"),
    "thing": _words(
        "a_car a_house a_phone a_computer a_bicycle a_boat a_clock a_chair a_guitar a_piano a_tree a_fire a_cake "
        "bread soup a_pizza a_garden a_letter a_book a_website a_bridge a_lamp a_radio a_camera paper glass soap "
        "cheese tea"),
    "problem": _words(
        "a_headache a_fever back_pain a_cold a_cough toothache insomnia a_rash a_sore_throat stress anxiety diabetes "
        "an_allergy asthma a_broken_arm high_blood_pressure flu a_burn"),
    "law": _words(
        "divorce taxes a_contract my_landlord copyright a_will a_visa insurance a_speeding_ticket inheritance "
        "a_patent my_employer a_lawsuit a_mortgage child_custody"),
    "science": _words(
        "gravity light sound electricity photosynthesis evolution DNA atoms energy magnetism heat inertia entropy "
        "cells the_heart the_brain blood the_stomach rainbows thunder lightning earthquakes tides black_holes stars "
        "planets friction osmosis enzymes bacteria viruses"),
    "mathword": _words(
        "a_prime_number a_matrix a_derivative an_integral a_logarithm pi the_golden_ratio a_vector a_proof infinity "
        "a_fraction a_triangle a_circle the_Pythagorean_theorem a_limit a_group a_graph a_function probability "
        "topology"),
    "function": _words("sin cos tan log ln exp sqrt arctan sinh"),
    "verb": _words(
        "swim dance sing cook draw paint write read run ski sleep drive sew knit fish juggle whistle meditate study"),
    "adjective": _words("happy sad funny short long strange old new scary romantic famous quiet brave simple clever"),
    "job": _words(
        "doctor teacher pilot lawyer cook farmer nurse artist writer engineer singer judge sailor king queen"),
    "work": _words(
        "Hamlet the_Bible the_Odyssey Faust Moby_Dick Don_Quixote the_Iliad Macbeth the_Mona_Lisa Emma Dracula"),
    "event": _words(
        "World_War_Two the_French_Revolution the_moon_landing the_Olympic_Games the_Cold_War the_plague "
        "the_Renaissance the_fall_of_Rome the_Great_Fire the_Gold_Rush the_Civil_War"),
    "object": _words(
        "cookies pens apples books people cars houses cows trees stars birds dollars coins horses bottles"),
}  # fmt: skip


def _templates(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.replace("\n", " | ").split(" | ") if part.strip())


FACTS = _templates("""
What is the capital of {place}? | Where is {place}? | How many people live in {place}?
How far is {place} from {place}? | How big is {place}? | What language do people speak in {place}?
What is the weather in {place}? | What is the best food in {place}? | Who is the president of {place}?
Who was {person}? | When was {person} born? | When did {person} die? | What year did {person} die?
How old was {person} in {n}? | What did {person} discover? | What is {person} famous for? | What happened in {n}?
What happened in {place} in {n}? | What year did {event} start? | When was {event}? | Why did {event} happen?
Tell me about {event}. | Tell me about {person}. | Tell me about {place}. | Tell me something about {topic}.
How many legs does a {animal} have? | How long does a {animal} live? | What does a {animal} eat?
How fast can a {animal} run? | Where do {animal}s live? | Why do {animal}s sleep?
Is a {animal} bigger than a {animal}? | How tall is a {animal}? | How much does a {animal} weigh? | Who wrote {work}?
What is {work} about? | Who is the hero of {work}? | What is {science}? | How does {science} work?
Explain {science} to a child. | Explain {science}. | Why is {science} important? | What causes {science}?
What is the temperature of the sun? | How many planets are there? | How far away is the moon? | Why is the sky blue?
What is the speed of light? | What is the tallest mountain in {place}? | What is the longest river in {place}?
Which country is larger, {place} or {place}? | Name {n} cities in {place}. | List {n} facts about {topic}.
Name three {animal} species. | What is the meaning of life? | What day is it today? | What time is it?
What time is it in {place}? | Who won the game yesterday? | What is the price of {thing}?
How much does {thing} cost in {place}? | How is {thing} made? | Who invented {thing}? | When was {thing} invented?
What is {thing}? | What color is a {animal}? | What is the opposite of {adjective}? | Define {topic}.
What does the word {adjective} mean? | How many {object} are there in {place}?
How many {object} are there in the world?
""")

REQUESTS = _templates("""
Write a poem about {topic}. | Write a {adjective} poem about a {animal}. | Write a {adjective} story about {topic}.
Write a song about {person}. | Write a letter to my {job}. | Write an essay about {topic}.
Write {n} words about {topic}. | Write an email to my boss about {topic}. | Write a haiku about {topic}.
Compose a {adjective} speech about {topic}. | Tell me a {adjective} joke. | Tell me a joke about a {animal}.
Tell me a {adjective} story. | Translate {phrase} into {language}. | Translate this to {language}: {phrase}.
How do you say {phrase} in {language}? | What does {phrase} mean in {language}?
What is the {language} word for {animal}? | Say {phrase} in {language}. | Write a {code} program that {codetask}.
Write a function in {code} that {codetask}. | How do I write a loop in {code}? | What is a class in {code}?
Fix this {code} code: print(x | Explain this {code} error. | Is {code} better than {code}? | How do I install {code}?
Debug my {code} script. | Give me {code} code that {codetask}. | Summarize {work}. | Summarize this text about {topic}.
Rewrite this sentence: {phrase}. | Correct the grammar: {phrase}. | Draw a {animal}. | Draw a picture of {thing}.
Play some {topic} music. | Sing a song about {topic}. | Give me a recipe for {thing}. | Give me {n} ideas for {topic}.
Give me a name for my {animal}. | Recommend a book about {topic}. | Recommend a film about {person}.
Suggest a gift for my {job}. | Make a plan for a trip to {place}. | Plan {n} days in {place}.
Book a flight to {place}. | Call my {job}. | Set an alarm for {n}. | Search the web for {topic}. | Open the door.
Turn on the light. | Send a message to {person}. | Spell the word {adjective}. | Find a rhyme for {animal}.
Continue the story: the {animal} saw a {animal}. | Describe {place} in one sentence. | Describe {thing}.
Compare {person} and {person}. | Make a list of {topic} words. | Pretend to be {person}. | Act as a {job}.
Imagine you are a {animal}.
""")

ADVICE = _templates("""
How do I make {thing}? | How do I {verb} better? | How can I learn to {verb}? | How do I learn {language}?
How long does it take to learn {language}? | How do I become a {job}? | How much does a {job} earn?
What should I do about {problem}? | How do I treat {problem}? | I have {problem}. What should I take?
Is {problem} dangerous? | Which medicine helps against {problem}? | Can I sue over {law}? | I need advice about {law}.
What are my rights about {law}? | Do I need a lawyer for {law}? | How does {law} work in {place}?
Should I buy {thing}? | Should I move to {place}? | Should I become a {job}? | How do I repair {thing}?
How do I clean {thing}? | How do I cook {thing}? | What should I eat today? | What should I wear in {place}?
How can I be {adjective}? | How do I find friends in {place}? | How do I train a {animal}? | How do I feed a {animal}?
Can I keep a {animal} at home? | Where should I invest {n} dollars? | Is it safe to travel to {place}?
What do you think about {topic}? | What is your opinion on {topic}? | Do you like {topic}? | Do you like {animal}s?
Is {topic} good or bad? | Which is better, {topic} or {topic}? | Who is better, {person} or {person}?
Why do people like {topic}? | Why is {topic} so {adjective}? | Hello! | Hi, how are you? | Good morning. | Who are you?
What is your name? | Who made you? | How old are you? | Are you a robot? | Are you {adjective}? | Can you {verb}?
Can you help me? | Where do you live? | What can you do? | Thank you very much. | Good bye. | I am {adjective} today.
I feel {adjective}. | My {animal} is {adjective}. | I want to {verb}. | My name is {person}. | I love {topic}.
Let us talk about {topic}. | You are {adjective}. | Do you dream? | Are you conscious? | What is love?
Who will win the election in {place}? | Will it rain tomorrow? | Is there a god? | Does a {animal} have a soul?
""")

MATHEMATICS = _templates("""
Is {n} a prime number? | What is the square root of {n}? | What is {function}({n})? | Compute {function}({n}).
What is {n}!? | What is the factorial of {n}? | Compute {n}^{n}. | What is {n} to the power of {n}?
What is {n} squared? | What are the prime factors of {n}? | Find the integral of {function}(x). | Integrate x^{n}.
Differentiate {function}(x). | What is the derivative of x^{n}? | What is the limit of {function}(x) as x goes to {n}?
Solve x^2 + {n}x = {n}. | Solve x^2 = {n}. | Solve the system x + y = {n} and x - y = {n}. | What is {mathword}?
Explain {mathword}. | Prove that {mathword} exists. | What is {n} mod {n}? | Convert {n} to binary.
Convert {n} miles to kilometers. | Convert {n} degrees to radians. | Write {n} in Roman numerals.
What is the greatest common divisor of {n} and {n}? | What is the area of a circle with radius {n}?
What is the volume of a ball with radius {n}? | What is the probability of rolling {n}?
How many primes are below {n}? | What is the {n}th prime? | What is the {n}th digit of pi?
Draw the graph of y = {n}x. | Is {n} even or odd? | How many days are in the year {n}?
What day of the week was it in {n}? | Round {n} to the nearest hundred. | What is {n} percent of {n}?
Find the mean of {n}, {n} and {n}. | Find the median of {n}, {n} and {n}.
What is the next number after {n}, {n}, {n}? | Expand (x + {n})^{n}. | Factor x^2 - {n}.
Multiply the matrices A and B. | What is log base {n} of {n}? | How many seconds are in {n} hours?
How many inches are {n} feet? | If it is {n} degrees in {place}, is it cold? | I was born in {n}. What is my star sign?
Who was king of {place} in {n}? | Is {n} a lucky number? | What does the number {n} mean? | What comes in {n} colors?
How do I count to {n} in {language}? | Write the number {n} in words. | Tell me a story with {n} {animal}s.
How many {object} fit in {thing}? | Can {n} {animal}s {verb}?
""")

MORE = _templates("""
Who painted {work}? | Who built {thing}? | Who was the first {job} in {place}? | Who is your favorite {job}?
Who teaches {topic} in {place}? | Which animal is faster, a {animal} or a {animal}? | Which {animal} lives in {place}?
Which language is spoken in {place}? | Which planet is the largest? | Which river flows through {place}?
When does {topic} begin? | When will {event} end? | When is the best time to visit {place}?
When should I see a doctor about {problem}? | Where can I buy {thing}? | Where did {person} live?
Where was {person} born? | Where is my {animal}? | Where does {thing} come from? | Why did {person} leave {place}?
Why does my {animal} {verb}? | Why do I have {problem}? | Why does {science} exist? | Why can a {animal} not {verb}?
What are the symptoms of {problem}? | What are the best {topic} books? | What are the rules of chess?
What are the main ideas of {person}? | What is the history of {place}? | What is the flag of {place}?
What is the currency of {place}? | What is the population of {place}? | What is the height of {thing}?
What is the difference between {science} and {science}? | What is the difference between a {animal} and a {animal}?
What is the formula for {science}? | What is the name of the king of {place}? | What did {person} say about {topic}?
What did you do yesterday? | What do {animal}s eat in winter? | What do you know about {science}?
What do you know about {place}? | What makes a good {job}? | What makes {person} {adjective}?
What should I say to my {job}? | What would {person} think of {topic}? | What if {person} had lived in {place}?
What time does the train to {place} leave? | What kind of {animal} is {adjective}? | How was {place} founded?
How did {person} die? | How did {event} end? | How do {animal}s {verb}? | How do I get to {place}?
How do I get from {place} to {place}? | How do I use {code}? | How do I file {law}? | How do I stop {problem}?
How do I tell a {adjective} story? | How do planes fly? | How many bones does a {animal} have?
How many moons does Jupiter have? | How many countries are in {place}? | How many books did {person} write?
How many calories are in {thing}? | How many states are there in {place}? | How many players are in a {topic} team?
How many times did {person} visit {place}? | How much water should I drink? | How much does a {animal} eat in {n} days?
How much money does {person} have? | How long is the flight to {place}? | How long was {event}?
How deep is the sea near {place}? | How hot is it in {place}? | How heavy is {thing}? | Is {place} in {place}?
Is {person} still alive? | Is {thing} expensive? | Is {topic} more important than {topic}?
Is it {adjective} to {verb}? | Are {animal}s {adjective}? | Are there {animal}s in {place}? | Does {place} have a king?
Does {topic} make people {adjective}? | Did {person} know {person}? | Did {event} change {place}?
Can a {animal} {verb}? | Can you write a {adjective} text for me? | Can you explain {science}?
Can you translate {phrase}? | Can you recommend {thing}? | Could you {verb} for me? | Would you like {thing}?
Should I {verb} every day? | Please write {n} lines about {topic}. | Please explain {science}.
Please tell me about {person}. | Please help me with {law}. | Please fix my {code} program.
Please translate {phrase} to {language}. | I need a recipe for {thing}. | I need a {job}.
I would like to visit {place}. | I do not understand {science}. | I am learning {language}.
I have {n} {animal}s. What should I feed them? | I have {n} dollars. Should I buy {thing}?
I lost my {animal} in {place}. | My {job} is {adjective}. What should I do? | My friend has {problem}.
Give me advice about {problem}. | Give me a synonym for {adjective}. | Give me three reasons to visit {place}.
Give an example of {science}. | Show me a picture of a {animal}. | Show me how to {verb}. | Teach me {language}.
Teach me to {verb}. | Tell me the history of {topic}. | Tell me who {person} was. | Tell me the news from {place}.
Explain how {thing} is made. | Explain the rules of {topic}. | Explain why {person} is famous. | Explain {law}.
List the kings of {place}. | List all {animal}s in {place}. | List the ingredients of {thing}.
Name a famous {job} from {place}. | Name the author of {work}. | Describe the life of {person}.
Describe a {adjective} {animal}. | Write about {topic} in {language}. | Write a review of {work}.
Write a title for a story about a {animal}. | Write a test for my {code} code.
Write a class in {code} that {codetask}. | Write the word {adjective} in {language}.
Invent a {adjective} name for {thing}. | Discuss {topic} in {place}. | Predict the weather in {place}.
Read me {work}. | Help me {verb}. | Help me write {code} code. | Find flights from {place} to {place}.
Find me a {job} in {place}. | Count the stars in the sky. | Count all {animal}s in {place}. | Sort my mail.
Sort the books of {person} by year. | Solve my {problem}. | Solve world hunger. | Make me {adjective}.
Make a drawing of a {animal}. | Make {thing} for {n} people. | Use {code} to write a program that {codetask}.
Use {thing} to make {thing}. | Calculate the distance from {place} to {place}. | Calculate the mass of the moon.
Calculate {function}({n}) + {function}({n}). | Compute the determinant of A. | Find all primes between {n} and {n}.
Find the roots of x^{n} = {n}. | Simplify {function}(x)^2 + 1. | What is {n} in binary? | What is {n} in {language}?
What is the sum of the angles of a triangle? | What is the cube root of {n}? | What is the log of {n}?
What is the surface of a cube with side {n}? | What is the sine of {n} degrees? | What is special about the year {n}?
What is the least common multiple of {n} and {n}? | Who was born in {n}? | Who ruled {place} in {n}?
Which year came after {event}? | Is {n} divisible by {n}? | Is {n} a perfect number? | Does {n} have {n} divisors?
How many divisors does {n} have? | How many zeros are in a million? | How do I compute the area of {thing}?
Why is {n} a prime number? | {topic} | {animal} | {place} | {person} and {person} | {adjective} {animal} {topic}
The {animal} is {adjective}. | The weather in {place} is {adjective}. | Yes. | No. | OK | Test | What? | Why? | Really?
""")

TEMPLATES: tuple[str, ...] = (*FACTS, *REQUESTS, *ADVICE, *MATHEMATICS, *MORE)
